//! The backend and its settings.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use smache_core::{
    Backend, CacheStore, Clock, Examination, Finding, Incarnation, JobQueue, JobWrites, Namespace, Result, Severity,
    SystemClock, Token,
};

use crate::{MemoryQueue, MemoryStore, namespace::NamespaceState};

/// Default number of entries of a namespace.
const DEFAULT_CAPACITY: usize = 100_000;

/// A backend in the memory of this process.
///
/// The same value returns the same data for the same namespace, and clones share it: [`store`](Backend::store) and
/// [`both`](Backend::both) show one store, which writes jobs only through the latter. [`queue`](Backend::queue) alone
/// is a separate queue. Two values share nothing.
///
/// The entries bound the jobs of a joined queue; a queue alone holds every job that it gets.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    capacity: usize,
    clock: Arc<dyn Clock>,
    namespaces: Mutex<Namespaces>,
}

#[derive(Debug)]
struct Namespaces {
    incarnation: Incarnation,
    joined: HashMap<Namespace, Arc<NamespaceState>>,
    queues: HashMap<Namespace, Arc<NamespaceState>>,
}

/// The loss of a simulated restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All data is still there, but may lack the last writes, as after a failover.
    Nothing,
    /// Entries, jobs, positions and everything that confirmed them are lost.
    Everything,
}

impl Memory {
    /// A backend with the default settings: the system's clock, 100,000 entries in each namespace.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A backend with options.
    pub fn builder() -> MemoryBuilder {
        MemoryBuilder { capacity: DEFAULT_CAPACITY, clock: Arc::new(SystemClock) }
    }

    /// Becomes another incarnation, like a restarted or replaced server: nothing is confirmed until feeds have
    /// replayed, and earlier runs cannot commit. For tests of an application's behaviour in this case.
    pub fn simulate_restart(&self, loss: Loss) {
        let mut namespaces = self.namespaces();
        namespaces.incarnation = random_incarnation();
        for shared in namespaces.joined.values().chain(namespaces.queues.values()) {
            shared.restart(&namespaces.incarnation, loss);
        }
    }

    fn namespaces(&self) -> std::sync::MutexGuard<'_, Namespaces> {
        // No code under this lock can panic half-way.
        self.0.namespaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn joined(&self, namespace: &Namespace) -> Arc<NamespaceState> {
        let Namespaces { incarnation, joined, .. } = &mut *self.namespaces();
        Arc::clone(joined.entry(namespace.clone()).or_insert_with(|| self.new_namespace(incarnation)))
    }

    fn alone(&self, namespace: &Namespace) -> Arc<NamespaceState> {
        let Namespaces { incarnation, queues, .. } = &mut *self.namespaces();
        Arc::clone(queues.entry(namespace.clone()).or_insert_with(|| self.new_namespace(incarnation)))
    }

    fn new_namespace(&self, incarnation: &Incarnation) -> Arc<NamespaceState> {
        Arc::new(NamespaceState::new(Arc::clone(&self.0.clock), self.0.capacity, incarnation.clone()))
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// The examination of store and queue.
pub(crate) fn examination() -> Examination {
    Examination::new("memory of this process").finding(true, || {
        let problem = "the data end with the process, and no other process sees them";
        Finding::new(Severity::Advice, problem, "use another backend outside of tests and small programs")
    })
}

impl Backend for Memory {
    fn store(&self, namespace: &Namespace) -> Result<Arc<dyn CacheStore>> {
        Ok(Arc::new(MemoryStore::new(self.joined(namespace), JobWrites::Reported)))
    }

    fn queue(&self, namespace: &Namespace) -> Result<Arc<dyn JobQueue>> {
        Ok(Arc::new(MemoryQueue::new(self.alone(namespace))))
    }

    fn both(&self, namespace: &Namespace) -> Result<(Arc<dyn CacheStore>, Arc<dyn JobQueue>)> {
        let shared = self.joined(namespace);
        let store = MemoryStore::new(Arc::clone(&shared), JobWrites::SameStep);
        Ok((Arc::new(store), Arc::new(MemoryQueue::new(shared))))
    }
}

/// The settings of a [`Memory`].
#[derive(Debug, Clone)]
#[must_use]
pub struct MemoryBuilder {
    capacity: usize,
    clock: Arc<dyn Clock>,
}

impl MemoryBuilder {
    /// How many entries a namespace holds at most, at least one. Above it, the store removes the entries that were
    /// stored or read least recently with their edges, which costs their next reader a computation.
    pub fn capacity(mut self, entries: usize) -> Self {
        self.capacity = entries.max(1);
        self
    }

    /// The clock, for example a [`ManualClock`](smache_core::ManualClock) for tests without sleeps.
    ///
    /// Moving such a clock does not wake [`JobQueue::wait`], which sleeps in real time.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The backend.
    #[must_use]
    pub fn build(self) -> Memory {
        let namespaces =
            Namespaces { incarnation: random_incarnation(), joined: HashMap::new(), queues: HashMap::new() };
        Memory(Arc::new(Inner { capacity: self.capacity, clock: self.clock, namespaces: Mutex::new(namespaces) }))
    }
}

fn random_incarnation() -> Incarnation {
    Incarnation::new(format!("memory-{}", Token::random()))
}

//! The backend and its settings.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use smache_core::{Backend, CacheStore, JobQueue, JobWrites, Namespace, Result};

use crate::{
    KeyValue, KvQueue, KvStore,
    area::{Shared, SharedArea},
    clear::clear,
    keys::{Area, Keys},
};

/// Default number of dependants that one transaction marks.
const DEFAULT_PAGE: usize = 1_000;

/// How often a waiting worker looks for jobs of other processes, by default.
const DEFAULT_POLL: Duration = Duration::from_millis(500);

type SharedByPlace = HashMap<(Namespace, u8), Arc<Shared>>;

/// A backend on your key-value store.
///
/// [`store`](Backend::store) and [`both`](Backend::both) show one store, which writes jobs only through the latter.
/// [`queue`](Backend::queue) alone is a separate queue.
#[derive(Debug, Clone)]
pub struct KvBackend {
    store: Arc<dyn KeyValue>,
    page: usize,
    poll: Duration,
    capacity: Option<usize>,
    /// By namespace and area, so that separate stores and queues wake each other.
    shared: Arc<Mutex<SharedByPlace>>,
}

impl KvBackend {
    /// A backend with the default settings.
    #[must_use]
    pub fn new(store: impl KeyValue) -> Self {
        Self::builder(store).build()
    }

    /// A backend with options.
    pub fn builder(store: impl KeyValue) -> KvBackendBuilder {
        KvBackendBuilder { store: Arc::new(store), page: DEFAULT_PAGE, poll: DEFAULT_POLL, capacity: None }
    }

    /// Removes everything of a namespace of any layout: results, jobs, positions, and validity. Afterwards feeds start
    /// at the present, and every result is computed again.
    ///
    /// No program may use the namespace meanwhile, and programs that used it have to restart: one that goes on may lose
    /// the value that it was about to store.
    ///
    /// # Errors
    /// Those of the store. A repeated call goes on where the failed one ended.
    ///
    /// # Cancel safety
    /// A dropped call has removed a part. No remaining entry is fresh.
    pub async fn clear(&self, namespace: &Namespace) -> Result<()> {
        for area in [Area::Store, Area::Queue] {
            self.shared(namespace, area).layout.forget();
        }
        clear(&self.area(namespace, Area::Store, JobWrites::Reported)).await
    }

    fn shared(&self, namespace: &Namespace, area: Area) -> Arc<Shared> {
        // No code under this lock can panic half-way.
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(shared.entry((namespace.clone(), area as u8)).or_default())
    }

    fn area(&self, namespace: &Namespace, area: Area, job_writes: JobWrites) -> Arc<SharedArea> {
        let store = Arc::clone(&self.store);
        let keys = Keys::new(namespace, area);
        let shared = self.shared(namespace, area);
        let limits = store.limits();
        let page = limits.page(self.page);
        Arc::new(SharedArea { store, keys, job_writes, page, limits, capacity: self.capacity, shared })
    }
}

impl Backend for KvBackend {
    fn store(&self, namespace: &Namespace) -> Result<Arc<dyn CacheStore>> {
        Ok(Arc::new(KvStore::new(self.area(namespace, Area::Store, JobWrites::Reported))))
    }

    fn queue(&self, namespace: &Namespace) -> Result<Arc<dyn JobQueue>> {
        Ok(Arc::new(KvQueue::new(self.area(namespace, Area::Queue, JobWrites::SameStep), self.poll, true)))
    }

    fn both(&self, namespace: &Namespace) -> Result<(Arc<dyn CacheStore>, Arc<dyn JobQueue>)> {
        let area = self.area(namespace, Area::Store, JobWrites::SameStep);
        Ok((Arc::new(KvStore::new(Arc::clone(&area))), Arc::new(KvQueue::new(area, self.poll, false))))
    }
}

/// The settings of a [`KvBackend`].
#[derive(Debug, Clone)]
#[must_use]
pub struct KvBackendBuilder {
    store: Arc<dyn KeyValue>,
    page: usize,
    poll: Duration,
    capacity: Option<usize>,
}

impl KvBackendBuilder {
    /// The most entries of a store, at least one. Above it, those that were stored least recently are removed: after
    /// the commit of this process that goes above it, and by maintenance. Entries under computation and announced
    /// changes stay. Only results go, never revisions and marks, so that no change is forgotten.
    ///
    /// Processes that commit at the same time may go above it for a moment, and remove a little more than needed. Give
    /// all programs of a namespace the same capacity. Without one, entries stay until they expire or are removed.
    pub fn capacity(mut self, entries: usize) -> Self {
        self.capacity = Some(entries.max(1));
        self
    }

    /// How many dependants one transaction marks, at least one. A larger invalidation takes several transactions. Each
    /// dependant takes about six writes and a kilobyte. Pages stay within the [limits](KeyValue::limits) of the store.
    pub fn page(mut self, dependants: usize) -> Self {
        self.page = dependants.max(1);
        self
    }

    /// How often a waiting worker looks for jobs that other processes have added, at least once a millisecond.
    pub fn poll(mut self, every: Duration) -> Self {
        self.poll = every.max(Duration::from_millis(1));
        self
    }

    /// The backend.
    #[must_use]
    pub fn build(self) -> KvBackend {
        KvBackend {
            store: self.store,
            page: self.page,
            poll: self.poll,
            capacity: self.capacity,
            shared: Arc::default(),
        }
    }
}

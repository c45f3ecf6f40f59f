//! The description of a system, and its construction.

use std::{any::TypeId, collections::BTreeMap, fmt, pin::Pin, sync::Arc, time::Duration};

use super::Smache;
use crate::{
    Backend, CacheStore, Codec, Computed, DataSource, Error, ErrorKind, JobQueue, Namespace, Result, SourceId,
    StoreFailure, Strictness,
    engine::{Engine, Function, Parts, Registry},
    service::{Tasks, wait_until_confirmed},
    settings::Settings,
    tracking::States,
};

/// Makes the untyped form of a function, once the settings are known.
type Registration = fn(&Settings) -> Result<Function>;

/// A connected backend, or one that `build` connects.
enum Given {
    Ready(Arc<dyn Backend>),
    Later(Connecting),
}

type Connecting = Pin<Box<dyn Future<Output = Result<Arc<dyn Backend>>> + Send>>;

impl Given {
    async fn ready(self) -> Result<Arc<dyn Backend>> {
        match self {
            Self::Ready(backend) => Ok(backend),
            Self::Later(connecting) => connecting.await,
        }
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(backend) => backend.fmt(f),
            Self::Later(_) => f.write_str("connected by `build`"),
        }
    }
}

/// The description of a system. Mistakes are reported by [`build`](Self::build).
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    namespace: Result<Namespace>,
    store: Option<Given>,
    queue: Option<Given>,
    joined: bool,
    functions: Vec<(TypeId, Registration)>,
    sources: Vec<Arc<dyn DataSource>>,
    states: States,
    settings: Settings,
    feeds: bool,
    maintenance: bool,
    program: Option<String>,
}

impl Builder {
    pub(super) fn new(namespace: &str) -> Self {
        Self {
            namespace: Namespace::new(namespace),
            store: None,
            queue: None,
            joined: false,
            functions: Vec::new(),
            sources: Vec::new(),
            states: States::new(),
            settings: Settings::default(),
            feeds: true,
            maintenance: true,
            program: None,
        }
    }

    /// The backend for the store and the queue: jobs are written in the same step as the invalidation.
    pub fn backend(mut self, backend: impl Backend) -> Self {
        self.store = Some(Given::Ready(Arc::new(backend)));
        self.queue = None;
        self.joined = true;
        self
    }

    /// As [`backend`](Self::backend), with a backend that [`build`](Self::build) connects, for example
    /// `Redis::connect(url)` without its `.await?`: a failure to connect is an error of `build`.
    pub fn connect<B: Backend>(mut self, backend: impl Future<Output = Result<B>> + Send + 'static) -> Self {
        let connecting = async { Ok(Arc::new(backend.await?) as Arc<dyn Backend>) };
        self.store = Some(Given::Later(Box::pin(connecting)));
        self.queue = None;
        self.joined = true;
        self
    }

    /// A backend for the store alone; the queue has another one. The reconciler joins them.
    pub fn store(mut self, backend: impl Backend) -> Self {
        self.store = Some(Given::Ready(Arc::new(backend)));
        self.joined = false;
        self
    }

    /// A backend for the queue alone.
    pub fn queue(mut self, backend: impl Backend) -> Self {
        self.queue = Some(Given::Ready(Arc::new(backend)));
        self.joined = false;
        self
    }

    /// A source of entities.
    pub fn source(mut self, source: impl DataSource) -> Self {
        self.sources.push(Arc::new(source));
        self
    }

    /// A computed function. Readers and workers know only the registered functions.
    pub fn register<F: Computed>(mut self) -> Self {
        self.functions.push((TypeId::of::<F>(), Function::of::<F>));
        self
    }

    /// A value that computed functions take as [`State<T>`](crate::State). One of each type; a later one replaces it.
    pub fn state<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        self.states.insert(TypeId::of::<T>(), Arc::new(state));
        self
    }

    /// How `get` answers while the store fails. Computes directly by default.
    pub fn on_store_failure(mut self, failure: StoreFailure) -> Self {
        self.settings.store_failure = failure;
        self
    }

    /// The reaction to a function that reads a source which it does not declare. None by default.
    pub fn strictness(mut self, strictness: Strictness) -> Self {
        self.settings.strictness = strictness;
        self
    }

    /// For tests: a function that reads a source which it does not declare fails with the names.
    /// [`Inspector::audit`](crate::inspect::Inspector::audit) finds the opposite at the end of a test: a source that is
    /// declared and never read.
    pub fn strict(self) -> Self {
        self.strictness(Strictness::Strict)
    }

    /// Tells outages from other errors of the clients that functions use themselves: an outage passes by itself, such
    /// as a pool without a free connection. SMache calls `is_outage` for each error in the chain of causes. The job of
    /// a function that fails with an outage waits, as it does for a registered source that is away. The crates of the
    /// database backends have such a function for the errors of their drivers, for example
    /// `smache::postgres::is_outage`.
    pub fn outages(mut self, is_outage: fn(&(dyn std::error::Error + 'static)) -> bool) -> Self {
        self.settings.outages = Some(is_outage);
        self
    }

    /// How long one step of the store or queue may take. 5 seconds by default. A change with so many dependants that it
    /// takes longer is handed over again with six times that bound, and at last with 36 times.
    pub fn store_timeout(mut self, timeout: Duration) -> Self {
        self.settings.store_timeout = timeout;
        self
    }

    /// How long a `get` that may go around the store waits for a look-up at least, before it computes without the
    /// store. 500 ms by default. It waits longer where the store is usually slower: four times the usual time of an
    /// answer, and at most the `store_timeout`. Reads that ask for more ([`Call::fresh`](crate::Call::fresh) and the
    /// like), and those with [`StoreFailure::Error`], wait for the `store_timeout`.
    pub fn read_patience(mut self, patience: Duration) -> Self {
        self.settings.read_patience = patience;
        self
    }

    /// After how many failed look-ups in a row each `get` that may go around the store does so at once, without asking
    /// it, and how often a probe in the background asks the store whether it is back. 5 and 500 ms by default; zero
    /// failures turn it off. [`Counters::skipped`] counts the reads.
    ///
    /// [`Counters::skipped`]: crate::Counters::skipped
    pub fn circuit_breaker(mut self, failures: u32, between_probes: Duration) -> Self {
        self.settings.breaker_failures = failures;
        self.settings.between_probes = between_probes;
        self
    }

    /// How long a reader waits for a run, in this process or another one. By default as long as the function
    /// may run, and six times the `store_timeout` for the steps around it.
    pub fn wait_timeout(mut self, timeout: Duration) -> Self {
        self.settings.wait_timeout = Some(timeout);
        self
    }

    /// How long a run counts as running after the last sign of its process. 10 seconds by default.
    pub fn run_lease(mut self, lease: Duration) -> Self {
        self.settings.run_lease = lease;
        self
    }

    /// How long a source stays confirmed after its feed has read up to the present: Δ of the protocol. 2 seconds by
    /// default, counted from the time at which the source was asked. When a feed dies or falls behind, its results are
    /// [`Fresh`](crate::Freshness::Fresh) for no longer than that, and then
    /// [`Unconfirmed`](crate::Freshness::Unconfirmed). A longer time suits a slow store, which the feed writes to
    /// several times within it. The setting of the process that leads the feed counts.
    pub fn feed_validity(mut self, validity: Duration) -> Self {
        self.settings.feed_validity = validity;
        self
    }

    /// How many bytes the arguments of a call may have. 4 MiB by default.
    pub fn max_argument_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_argument_bytes = bytes;
        self
    }

    /// How many bytes an encoded result may have. 16 MiB by default.
    pub fn max_value_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_value_bytes = bytes;
        self
    }

    /// How many dependencies a result may have. 10,000 by default. A result that reads more entities depends on their
    /// whole sources instead, so that it is recomputed too often rather than too seldom; [`Counters::coarsened`] counts
    /// these.
    ///
    /// [`Counters::coarsened`]: crate::Counters::coarsened
    pub fn max_dependencies(mut self, many: usize) -> Self {
        self.settings.max_dependencies = many;
        self
    }

    /// The format of stored results. JSON by default; a value that it cannot express is stored in another one.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.settings.codec = codec;
        self
    }

    /// Whether this process may lead the feeds of its sources (the default). At least one process must.
    pub fn feeds(mut self, on: bool) -> Self {
        self.feeds = on;
        self
    }

    /// Whether this process may do the maintenance of the store (the default): at least one process must.
    pub fn maintenance(mut self, on: bool) -> Self {
        self.maintenance = on;
        self
    }

    /// The name of this program in the register of programs
    /// ([`Inspector::programs`](crate::inspect::Inspector::programs)) and in errors. The name of its executable with
    /// its process id by default.
    pub fn program(mut self, name: impl Into<String>) -> Self {
        self.program = Some(name.into());
        self
    }

    /// How long the entries of a function stay when no program has it any more: after a deploy that is rolled back, the
    /// function finds its old entries. 7 days by default. The setting of the process that does the maintenance counts.
    /// [`Smache::forget`] removes the entries at once.
    pub fn forget_after(mut self, time: Duration) -> Self {
        self.settings.forget_after = time;
        self
    }

    /// Checks the description, connects the parts and starts the feeds.
    ///
    /// Returns when every source behind a feed is confirmed, by this process or by another one that leads its feed.
    /// With a warning it returns after 15 seconds, or at once in a process that leads no feed.
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: a bad name, two functions or sources under one id, no backend, a bound of zero, an index
    /// of a field that its source cannot compare. [`ErrorKind::Unregistered`]: a function reads a source that is not
    /// registered. The errors of the store and of the feeds: unreachable, refused, of the wrong kind.
    pub async fn build(self) -> Result<Smache> {
        let namespace = self.namespace?;
        self.settings.check()?;
        let mut registry = Registry::default();
        for (of, function) in self.functions {
            registry.add(of, function(&self.settings)?)?;
        }
        let sources = index(self.sources)?;
        for function in registry.iter() {
            if let Some(missing) = function.sources.iter().find(|source| !sources.contains_key(*source)) {
                let name = function.name;
                let fix = "give it to the builder with `.source(…)`";
                let message = format!(
                    "the computed function `{name}` reads the source `{missing}`, which is not registered: {fix}"
                );
                return Err(Error::new(ErrorKind::Unregistered, message));
            }
        }
        // Last, since the server may be on another machine: a mistake in the description is found without a server.
        let (store, queue) = open(self.store, self.queue, self.joined, &namespace).await?;
        let (states, settings, program) = (self.states, self.settings, self.program);
        let parts = Parts { namespace, store, queue, registry, sources, states, settings, program };
        let engine = Arc::new(Engine::new(parts));
        engine.check_indexes().await?;
        engine.timed("attach", engine.store.attach(&engine.application_sources())).await?;
        engine.keep_attached().await?;
        // Registers before any work starts, so that no other program takes this program's functions for unknown ones.
        if let Err(error) = engine.register().await {
            tracing::warn!(error = %error.report(), "the program is not in the register yet, and tries again");
        }
        let tasks = Arc::new(Tasks::start(&engine, self.feeds, self.maintenance));
        let smache = Smache { engine, tasks };
        wait_until_confirmed(&smache.engine, &smache.tasks).await?;
        Ok(smache)
    }
}

type Opened = (Arc<dyn CacheStore>, Arc<dyn JobQueue>);

async fn open(store: Option<Given>, queue: Option<Given>, joined: bool, namespace: &Namespace) -> Result<Opened> {
    let missing = |role: &str| {
        let fix = "call `.backend(…)`, for example with `Memory::new()`";
        Error::new(ErrorKind::Config, format!("the system has no {role}: {fix}"))
    };
    match (store, queue) {
        (Some(both), None) if joined => both.ready().await?.both(namespace),
        (Some(store), Some(queue)) => {
            Ok((store.ready().await?.store(namespace)?, queue.ready().await?.queue(namespace)?))
        }
        (None, _) => Err(missing("store")),
        (Some(_), None) => Err(missing("queue")),
    }
}

fn index(sources: Vec<Arc<dyn DataSource>>) -> Result<BTreeMap<SourceId, Arc<dyn DataSource>>> {
    let mut index = BTreeMap::new();
    for source in sources {
        if source.id().is_reserved() {
            let message =
                format!("the source id `{}` begins with `smache:`, which is reserved: rename it", source.id());
            return Err(Error::new(ErrorKind::Config, message));
        }
        if let Some(other) = index.insert(source.id().clone(), source) {
            let message = format!("two sources have the id `{}`: register one of them", other.id());
            return Err(Error::new(ErrorKind::Config, message));
        }
    }
    Ok(index)
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("namespace", &self.namespace)
            .field("store", &self.store)
            .field("queue", &self.queue)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

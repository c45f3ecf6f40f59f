//! The harness that a factory makes for a case.

use std::{
    any::Any,
    fmt,
    future::{Future, ready},
    panic::resume_unwind,
    pin::Pin,
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use async_trait::async_trait;
use smache_core::{
    Backend, CacheStore, DataSource, EntityKey, Filter, Image, JobQueue, ManualClock, Namespace, Position, Result,
    support::limits::MARK_LIFETIME,
};
use smache_kv::KeyValue;
use tokio::runtime::Runtime;

type Step = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How long a case may take, unless its harness says otherwise.
const BOUND: Duration = Duration::from_secs(180);

/// The subject of a case, with the means to move the time and, where the backend can, to replace its server.
pub struct Harness<R> {
    role: R,
    advance: Box<dyn Fn(Duration) -> Step + Send + Sync>,
    by_hand: bool,
    new_incarnation: Option<Box<dyn Fn() -> Step + Send + Sync>>,
    pass_deadlines: Option<Box<dyn Fn() -> Step + Send + Sync>>,
    guard: Option<Box<dyn Any + Send + Sync>>,
    second: Option<R>,
    pages: bool,
    pauses: bool,
    many: u32,
    one_in: u32,
    bound: Duration,
    capacity: Option<u32>,
}

/// The harness of [`backend_suite!`](crate::backend_suite) and [`comparison_suite!`](crate::comparison_suite).
pub type BackendHarness = Harness<Arc<dyn Backend>>;

/// The harness of [`store_suite!`](crate::store_suite) and [`incarnation_suite!`](crate::incarnation_suite).
pub type StoreHarness = Harness<Arc<dyn CacheStore>>;

/// The harness of [`queue_suite!`](crate::queue_suite).
pub type QueueHarness = Harness<Arc<dyn JobQueue>>;

/// The harness of [`joined_suite!`](crate::joined_suite).
pub type JoinedHarness = Harness<Joined>;

/// The harness of [`key_value_suite!`](crate::key_value_suite) and
/// [`key_value_incarnation_suite!`](crate::key_value_incarnation_suite).
pub type KeyValueHarness = Harness<Arc<dyn KeyValue>>;

/// The harness of [`source_suite!`](crate::source_suite) and [`attached_source_suite!`](crate::attached_source_suite).
pub type SourceHarness = Harness<Arc<dyn SourceProbe>>;

/// A store that writes the jobs of a queue in the same step as the change that needs them.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The store.
    pub store: Arc<dyn CacheStore>,
    /// The queue of the same namespace.
    pub queue: Arc<dyn JobQueue>,
}

/// A source with the means to write to it, on an entity type of the backend's choice that has a number as its id (or
/// one id per number) and a text.
#[async_trait]
pub trait SourceProbe: fmt::Debug + Send + Sync + 'static {
    /// The source, empty when the case starts.
    fn source(&self) -> Arc<dyn DataSource>;

    /// The key of the entity with a number.
    fn key(&self, number: u32) -> EntityKey;

    /// The text of an entity.
    ///
    /// # Errors
    /// The error of [`Image::get`].
    fn text(&self, image: &Image) -> Result<String>;

    /// The filter for the entities with a text: a predicate on the field of the text.
    fn with_text(&self, text: &str) -> Filter;

    /// Inserts the entity of a number, or replaces it.
    async fn put(&self, number: u32, text: &str) -> Result<()>;

    /// Removes the entity of a number, if there is one.
    async fn remove(&self, number: u32) -> Result<()>;

    /// A position that is not in the history of the feed (any more): a source without a feed is never asked.
    async fn lost_position(&self) -> Position;
}

impl<R> Harness<R> {
    /// A harness in real time: moving the time sleeps.
    #[must_use]
    pub fn new(role: R) -> Self {
        let advance = Box::new(|by| Box::pin(tokio::time::sleep(by)) as Step);
        Self {
            role,
            advance,
            by_hand: false,
            new_incarnation: None,
            pass_deadlines: None,
            guard: None,
            second: None,
            pages: false,
            pauses: false,
            many: 10_000,
            one_in: 1,
            bound: BOUND,
            capacity: None,
        }
    }

    /// The same in the time of a clock that the cases move.
    #[must_use]
    pub fn with_clock(self, clock: ManualClock) -> Self {
        self.with_advance(move |by| {
            clock.advance(by);
            ready(())
        })
    }

    /// The same with another way to let time pass, for example a clock that is moved by hand.
    #[must_use]
    pub fn with_advance<F>(mut self, advance: impl Fn(Duration) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.advance = Box::new(move |by| Box::pin(advance(by)));
        self.by_hand = true;
        self
    }

    /// The same with a way to make the server another incarnation that has kept all data, for example a restart. The
    /// role must work again when the future is done.
    #[must_use]
    pub fn with_new_incarnation<F>(mut self, replace: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.new_incarnation = Some(Box::new(move || Box::pin(replace())));
        self
    }

    /// The same with a way to let the deadline of every unfinished invalidation of the store pass at once, by a write
    /// to the database. It matters for a server whose invalidations take several steps; a clock that is moved by hand
    /// needs no other way.
    #[must_use]
    pub fn with_deadlines_passed<F>(mut self, pass: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.pass_deadlines = Some(Box::new(move || Box::pin(pass())));
        self
    }

    /// The same with something that is dropped when the case is over, for example a server's process.
    #[must_use]
    pub fn with_guard(mut self, guard: impl Any + Send + Sync) -> Self {
        self.guard = Some(Box::new(guard));
        self
    }

    /// The same with another value for the same data, as a second process has it: with separate connections.
    #[must_use]
    pub fn with_second(mut self, role: R) -> Self {
        self.second = Some(role);
        self
    }

    /// The same for a backend that marks even a few dependants in several steps.
    #[must_use]
    pub fn with_pages(mut self) -> Self {
        self.pages = true;
        self
    }

    /// The same for a role whose steps do not go on while they are not polled, and which pauses between the transactions
    /// of a step that has several: in the process of the test, and never on a server.
    #[must_use]
    pub fn with_pauses(mut self) -> Self {
        self.pauses = true;
        self
    }

    /// The same with another number of entries than 10,000 where a case is about very many: for a server that takes
    /// long to make them. It should be some pages of the backend.
    #[must_use]
    pub fn with_many(mut self, many: u32) -> Self {
        self.many = many;
        self
    }

    /// The same with one round in so many where a case is random, or a race, and has many rounds: for a server that
    /// takes long. A run of all of them is due now and then.
    #[must_use]
    pub fn with_one_round_in(mut self, so_many: u32) -> Self {
        self.one_in = so_many.max(1);
        self
    }

    /// The same with another bound than three minutes, after which a case that is not over fails. It begins when the
    /// factory is done, which has three minutes for itself.
    #[must_use]
    pub fn with_bound(mut self, bound: Duration) -> Self {
        self.bound = bound;
        self
    }

    /// The same for a store that keeps so many entries. A hundred are enough.
    #[must_use]
    pub fn with_capacity(mut self, entries: u32) -> Self {
        self.capacity = Some(entries);
        self
    }

    /// How many entries the store keeps.
    ///
    /// # Panics
    /// When the factory does not say: the suite must not be run then.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        match self.capacity {
            Some(entries) => entries,
            None => panic!("the factory gives a harness without `with_capacity`, which this suite needs"),
        }
    }

    /// The same harness of another subject.
    #[must_use]
    pub fn map<S>(self, role: impl FnOnce(R) -> S) -> Harness<S> {
        let Self { role: before, advance, by_hand, new_incarnation, pass_deadlines, guard, .. } = self;
        let Self { pages, pauses, many, one_in, bound, capacity, .. } = self;
        let role = role(before);
        Harness {
            role,
            advance,
            by_hand,
            new_incarnation,
            pass_deadlines,
            guard,
            second: None,
            pages,
            pauses,
            many,
            one_in,
            bound,
            capacity,
        }
    }

    /// How many of so many rounds a case is to do.
    #[must_use]
    pub fn rounds(&self, all: u32) -> u32 {
        all.div_ceil(self.one_in)
    }

    /// How many entries very many are.
    #[must_use]
    pub fn many(&self) -> u32 {
        self.many
    }

    /// The store, queue or source that the case tests.
    #[must_use]
    pub fn role(&self) -> &R {
        &self.role
    }

    /// The role as a second process has it, if there is one.
    #[must_use]
    pub fn second(&self) -> Option<&R> {
        self.second.as_ref()
    }

    /// Whether a few dependants are marked in several steps ([`with_pages`](Self::with_pages)).
    #[must_use]
    pub fn has_pages(&self) -> bool {
        self.pages
    }

    /// Whether steps pause ([`with_pauses`](Self::with_pauses)).
    #[must_use]
    pub fn has_pauses(&self) -> bool {
        self.pauses
    }

    /// Whether the server can be replaced ([`with_new_incarnation`](Self::with_new_incarnation)).
    #[must_use]
    pub fn has_new_incarnation(&self) -> bool {
        self.new_incarnation.is_some()
    }

    /// Lets at least that much time pass for the role.
    pub async fn advance(&self, by: Duration) {
        (self.advance)(by).await;
    }

    /// Whether cases move the time of the role ([`with_advance`](Self::with_advance)), so that a long time costs none.
    #[must_use]
    pub fn is_moved_by_hand(&self) -> bool {
        self.by_hand
    }

    /// Lets the deadlines of unfinished invalidations pass. `false` if that would take their whole time.
    pub async fn pass_deadlines(&self) -> bool {
        match &self.pass_deadlines {
            Some(pass) => pass().await,
            None if self.by_hand => self.advance(MARK_LIFETIME + Duration::from_secs(5)).await,
            None => return false,
        }
        true
    }

    /// Makes the server another incarnation.
    ///
    /// # Panics
    /// When the factory offers no such way: the suite must not be run then.
    pub async fn new_incarnation(&self) {
        match &self.new_incarnation {
            Some(replace) => replace().await,
            None => panic!("the factory gives a harness without `with_new_incarnation`, which this suite needs"),
        }
    }
}

impl BackendHarness {
    /// A harness of a backend, in real time.
    #[must_use]
    pub fn of(backend: impl Backend) -> Self {
        Self::new(Arc::new(backend))
    }

    /// Its store alone, under a new namespace.
    ///
    /// # Panics
    /// When the backend has no such role.
    #[must_use]
    pub fn store(self) -> StoreHarness {
        self.map(|backend| backend.store(&random_namespace()).expect("the backend has stores"))
    }

    /// Its queue alone, under a new namespace.
    ///
    /// # Panics
    /// When the backend has no such role.
    #[must_use]
    pub fn queue(self) -> QueueHarness {
        self.map(|backend| backend.queue(&random_namespace()).expect("the backend has queues"))
    }

    /// Its store and its queue together, under a new namespace.
    ///
    /// # Panics
    /// When the backend has no such role.
    #[must_use]
    pub fn joined(self) -> JoinedHarness {
        self.map(|backend| {
            let (store, queue) = backend.both(&random_namespace()).expect("the backend has both");
            Joined { store, queue }
        })
    }
}

impl<R: fmt::Debug> fmt::Debug for Harness<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness")
            .field("role", &self.role)
            .field("new_incarnation", &self.new_incarnation.is_some())
            .field("guard", &self.guard.is_some())
            .finish_non_exhaustive()
    }
}

/// A namespace that no other case uses.
#[must_use]
pub fn random_namespace() -> Namespace {
    let name = format!("case-{}", smache_core::Token::random());
    Namespace::new(name).expect("`case-` and hexadecimal digits are a name")
}

fn runtime() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().expect("the machine gives threads")
}

/// Runs a test on a separate runtime. A test that hangs fails.
#[doc(hidden)]
pub fn run(case: impl Future<Output = ()>) {
    runtime().block_on(async {
        assert!(tokio::time::timeout(BOUND, case).await.is_ok(), "the case is not over after {BOUND:?}");
    });
}

/// Runs a case of a suite on a separate thread and runtime, so that it fails in time even if the backend blocks the
/// thread.
#[doc(hidden)]
pub fn run_case<R, F, C>(
    name: &'static str,
    factory: impl FnOnce() -> F + Send + 'static,
    case: impl FnOnce(Harness<R>) -> C + Send + 'static,
) where
    F: Future<Output = Harness<R>>,
    C: Future<Output = ()>,
{
    let (done, steps) = channel();
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Until the runtime is shut down: it waits for the backend's blocking tasks.
        let made = done.clone();
        runtime().block_on(async move {
            let harness = factory().await;
            // The receiver is gone if the factory came too late.
            let _ = made.send(harness.bound);
            drop(made);
            case(harness).await;
        });
        drop(done);
    });
    let thread = thread.expect("the machine gives threads");
    let (mut bound, mut what) = (BOUND, "the factory of the case");
    loop {
        match steps.recv_timeout(bound) {
            Ok(of_case) => (bound, what) = (of_case, "the case"),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => panic!(
                "{what} `{name}` is not over after {bound:?}: it hangs, or the server is slow and needs \
                 `Harness::with_bound`, `with_many` or `with_one_round_in`"
            ),
        }
    }
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

#[cfg(test)]
mod tests;

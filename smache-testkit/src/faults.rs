//! A backend that fails on demand, and counts, for tests of an application or of the engine under failures.
//!
//! ```
//! use smache_core::{ProgramStep, Programs, Backend, Namespace};
//! use smache_memory::Memory;
//! use smache_testkit::faults::{Fault, Faulty};
//!
//! # async fn example() -> smache_core::Result<()> {
//! let (backend, faults) = Faulty::of(Memory::new());
//! let store = backend.store(&Namespace::new("shop")?)?;
//! faults.on("lookup", Fault::Unavailable);
//! assert!(store.lookup(&[]).await.is_err());
//! faults.heal();
//! assert!(store.lookup(&[]).await.is_ok());
//! assert_eq!(faults.calls("lookup"), 2);
//! # Ok(())
//! # }
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
//! # runtime.block_on(example()).expect("it works");
//! ```

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use smache_core::{
    Abort, Backend, Begin, BeginOutcome, CacheStore, ChangedSince, Commit, CommitOutcome, Dependants, Dependency,
    Enqueued, EntryId, EntryStore, Epoch, Error, ErrorKind, Examination, FeedId, FeedStep, FeedStore, FoundJob,
    FullRecord, Incarnation, InspectStore, Invalidated, Invalidation, InvalidationStore, JobCounts, JobPage, JobQueue,
    JobState, JobWrites, Leadership, Lookup, Maintained, Namespace, NewJob, Page, Positions, ProgramStep, Programs,
    Record, RecordWaits, Reservation, Reserve, Result, Scanned, Settled, Settlement, SourceId, StoreStats, Token,
};

use crate::yielding::Pauses;

/// How a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The backend is not there; the step did not happen.
    Unavailable,
    /// The step never ends, and does not happen.
    Hang,
    /// The step happens, but its answer is lost.
    Ambiguous,
    /// The step happens, and its answer comes that much later.
    Late(Duration),
    /// The step happens that much later.
    Slow(Duration),
}

/// Which steps fail, how and how often; shared with the backend.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    all: Mutex<Option<Fault>>,
    by_step: Mutex<HashMap<&'static str, (Fault, usize)>>,
    calls: Mutex<HashMap<&'static str, usize>>,
    steps: AtomicUsize,
    pauses: OnceLock<Pauses>,
}

impl Faults {
    /// Every step fails from now on. Steps are called as the methods of the traits.
    pub fn all(&self, fault: Fault) {
        *lock(&self.0.all) = Some(fault);
    }

    /// A step fails from now on.
    pub fn on(&self, step: &'static str, fault: Fault) {
        self.times(step, fault, usize::MAX);
    }

    /// A step fails that often.
    pub fn times(&self, step: &'static str, fault: Fault, times: usize) {
        lock(&self.0.by_step).insert(step, (fault, times));
    }

    /// Nothing fails from now on.
    pub fn heal(&self) {
        *lock(&self.0.all) = None;
        lock(&self.0.by_step).clear();
    }

    /// Every step yields before and after its work from now on, a random number of times, so that the tasks of a test
    /// take turns also on a backend that never waits.
    pub fn yield_between(&self) {
        let _ = self.0.pauses.set(Pauses::new());
    }

    /// How many steps there were, whether they failed or not.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.0.steps.load(Ordering::SeqCst)
    }

    /// How often a step was asked for.
    #[must_use]
    pub fn calls(&self, step: &'static str) -> usize {
        lock(&self.0.calls).get(step).copied().unwrap_or_default()
    }

    fn next(&self, step: &'static str) -> Option<Fault> {
        self.0.steps.fetch_add(1, Ordering::SeqCst);
        *lock(&self.0.calls).entry(step).or_default() += 1;
        if let Some((fault, times)) = lock(&self.0.by_step).get_mut(step)
            && *times > 0
        {
            *times -= 1;
            return Some(*fault);
        }
        *lock(&self.0.all)
    }

    async fn around<T>(&self, step: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let Some(pauses) = self.0.pauses.get() else { return self.failing(step, work).await };
        pauses.pause().await;
        let answer = self.failing(step, work).await;
        pauses.pause().await;
        answer
    }

    async fn failing<T>(&self, step: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let lost = || Error::new(ErrorKind::Unavailable, "the connection was cut");
        match self.next(step) {
            None => work.await,
            Some(Fault::Unavailable) => Err(lost()),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Ambiguous) => work.await.and_then(|_| Err(lost())),
            Some(Fault::Late(by)) => {
                let answer = work.await;
                tokio::time::sleep(by).await;
                answer
            }
            Some(Fault::Slow(by)) => {
                tokio::time::sleep(by).await;
                work.await
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A backend whose steps fail on demand.
#[derive(Debug)]
pub struct Faulty<B> {
    backend: B,
    faults: Faults,
}

impl<B> Faulty<B> {
    /// Wraps a backend. The [`Faults`] govern the wrapped backend and every store and queue that it makes.
    pub fn of(backend: B) -> (Self, Faults) {
        let faults = Faults::default();
        (Self { backend, faults: faults.clone() }, faults)
    }
}

#[deny(clippy::missing_trait_methods)]
impl<B: Backend> Backend for Faulty<B> {
    fn store(&self, namespace: &Namespace) -> Result<Arc<dyn CacheStore>> {
        Ok(Arc::new(FaultyStore { store: self.backend.store(namespace)?, faults: self.faults.clone() }))
    }

    fn queue(&self, namespace: &Namespace) -> Result<Arc<dyn JobQueue>> {
        Ok(Arc::new(FaultyQueue { queue: self.backend.queue(namespace)?, faults: self.faults.clone() }))
    }

    fn both(&self, namespace: &Namespace) -> Result<(Arc<dyn CacheStore>, Arc<dyn JobQueue>)> {
        let (store, queue) = self.backend.both(namespace)?;
        let store = FaultyStore { store, faults: self.faults.clone() };
        Ok((Arc::new(store), Arc::new(FaultyQueue { queue, faults: self.faults.clone() })))
    }
}

#[derive(Debug)]
struct FaultyStore {
    store: Arc<dyn CacheStore>,
    faults: Faults,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl EntryStore for FaultyStore {
    fn job_writes(&self) -> JobWrites {
        self.store.job_writes()
    }

    async fn lookup(&self, ids: &[EntryId]) -> Result<Lookup> {
        self.faults.around("lookup", self.store.lookup(ids)).await
    }

    async fn read_record(&self, id: &EntryId) -> Result<FullRecord> {
        self.faults.around("read_record", self.store.read_record(id)).await
    }

    async fn begin(&self, begin: Begin) -> Result<BeginOutcome> {
        self.faults.around("begin", self.store.begin(begin)).await
    }

    async fn commit(&self, commit: Commit) -> Result<CommitOutcome> {
        self.faults.around("commit", self.store.commit(commit)).await
    }

    async fn changed_since(&self, revision: u64, dependencies: &[Dependency]) -> Result<ChangedSince> {
        self.faults.around("changed_since", self.store.changed_since(revision, dependencies)).await
    }

    async fn abort(&self, abort: Abort) -> Result<bool> {
        self.faults.around("abort", self.store.abort(abort)).await
    }

    async fn extend(&self, runs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
        self.faults.around("extend", self.store.extend(runs, lease)).await
    }

    async fn record_waits(&self, wait: RecordWaits) -> Result<Vec<(EntryId, EntryId)>> {
        // `wait` is the queue's.
        self.faults.around("record_waits", self.store.record_waits(wait)).await
    }

    async fn remove(&self, id: &EntryId, token: Option<Token>) -> Result<bool> {
        self.faults.around("remove", self.store.remove(id, token)).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl InvalidationStore for FaultyStore {
    async fn invalidate(&self, invalidation: Invalidation) -> Result<Invalidated> {
        self.faults.around("invalidate", self.store.invalidate(invalidation)).await
    }

    async fn new_epoch(&self) -> Result<Epoch> {
        self.faults.around("new_epoch", self.store.new_epoch()).await
    }

    async fn maintain(&self, limit: usize) -> Result<Maintained> {
        self.faults.around("maintain", self.store.maintain(limit)).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl FeedStore for FaultyStore {
    async fn attach(&self, sources: &[SourceId]) -> Result<()> {
        self.faults.around("attach", self.store.attach(sources)).await
    }

    async fn keep_attached(&self, valid_for: Duration) -> Result<()> {
        self.faults.around("keep_attached", self.store.keep_attached(valid_for)).await
    }

    async fn lead(&self, feed: &FeedId, holder: Token, lease: Duration) -> Result<Leadership> {
        self.faults.around("lead", self.store.lead(feed, holder, lease)).await
    }

    async fn resign(&self, feed: &FeedId, fence: u64) -> Result<()> {
        self.faults.around("resign", self.store.resign(feed, fence)).await
    }

    async fn positions(&self, sources: &[SourceId]) -> Result<Positions> {
        self.faults.around("positions", self.store.positions(sources)).await
    }

    async fn restart(&self, step: FeedStep) -> Result<()> {
        self.faults.around("restart", self.store.restart(step)).await
    }

    async fn programs(&self, step: ProgramStep) -> Result<Programs> {
        self.faults.around("programs", self.store.programs(step)).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl InspectStore for FaultyStore {
    async fn stale(&self, page: Page) -> Result<Scanned> {
        self.faults.around("stale", self.store.stale(page)).await
    }

    async fn inspect(&self, id: &EntryId) -> Result<Option<Record>> {
        self.faults.around("inspect", self.store.inspect(id)).await
    }

    async fn dependants(&self, dependency: &Dependency, page: Page) -> Result<Dependants> {
        self.faults.around("dependants", self.store.dependants(dependency, page)).await
    }

    async fn examine(&self) -> Result<Examination> {
        self.faults.around("examine", self.store.examine()).await
    }

    async fn stats(&self) -> Result<StoreStats> {
        self.faults.around("stats", self.store.stats()).await
    }
}

#[derive(Debug)]
struct FaultyQueue {
    queue: Arc<dyn JobQueue>,
    faults: Faults,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl JobQueue for FaultyQueue {
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
        self.faults.around("enqueue", self.queue.enqueue(jobs)).await
    }

    async fn reserve(&self, reserve: Reserve) -> Result<Reservation> {
        self.faults.around("reserve", self.queue.reserve(reserve)).await
    }

    async fn extend(&self, jobs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
        self.faults.around("extend_jobs", self.queue.extend(jobs, lease)).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.faults.around("settle", self.queue.settle(settlements)).await
    }

    async fn requeue(&self, ids: &[EntryId]) -> Result<u64> {
        self.faults.around("requeue", self.queue.requeue(ids)).await
    }

    async fn discard(&self, ids: &[EntryId]) -> Result<u64> {
        self.faults.around("discard", self.queue.discard(ids)).await
    }

    async fn examine(&self) -> Result<Examination> {
        self.faults.around("examine", self.queue.examine()).await
    }

    async fn counts(&self) -> Result<JobCounts> {
        self.faults.around("counts", self.queue.counts()).await
    }

    async fn list(&self, state: JobState, cursor: Option<Bytes>, limit: usize) -> Result<JobPage> {
        self.faults.around("list", self.queue.list(state, cursor, limit)).await
    }

    async fn find(&self, id: &EntryId) -> Result<Option<FoundJob>> {
        self.faults.around("find", self.queue.find(id)).await
    }

    async fn incarnation(&self) -> Result<Incarnation> {
        self.faults.around("incarnation", self.queue.incarnation()).await
    }

    async fn wait(&self, timeout: Duration) -> Result<()> {
        self.faults.around("wait", self.queue.wait(timeout)).await
    }
}

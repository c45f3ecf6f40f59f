//! The store: a document for each entry, and one for each namespace.
//!
//! An update of one document is one step. Where a step of the contract changes several documents, the order of the
//! commands is that of the protocol; each module gives the reasons.

mod commit;
mod feeds;
mod invalidate;
mod lookup;
mod maintain;
mod programs;
mod runs;
mod waits;

pub(crate) use self::lookup::next_page;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use smache_core::{
    Abort, Begin, BeginOutcome, ChangedSince, Commit, CommitOutcome, Dependants, Dependency, EntryId, EntryStore,
    Epoch, Error, ErrorKind, Examination, FeedId, FeedStep, FeedStore, FullRecord, InspectStore, Invalidated,
    Invalidation, InvalidationStore, JobWrites, Leadership, Lookup, Maintained, Namespace, Notifier, Page, Positions,
    ProgramStep, Programs, Record, RecordWaits, Result, Scanned, SourceId, StoreStats, Token,
};

use crate::{examine::examine_backend, keys::Keys, link::Link};

/// A cache store on MongoDB.
pub struct MongoStore {
    inner: Arc<Inner>,
}

/// The state that the tasks of a store share.
struct Inner {
    link: Arc<Link>,
    keys: Keys,
    jobs: JobWrites,
    notifier: Notifier,
    /// The most dependants in a page of an invalidation.
    page: i64,
}

impl MongoStore {
    pub(crate) fn new(link: Arc<Link>, namespace: &Namespace, jobs: JobWrites, notifier: Notifier, page: i64) -> Self {
        Self { inner: Arc::new(Inner { link, keys: Keys::new(namespace), jobs, notifier, page }) }
    }

    /// Runs a step of several commands in a task, which goes on when the caller is dropped: only a crash leaves half of
    /// it.
    async fn whole<T, F>(&self, step: impl FnOnce(Arc<Inner>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        tokio::spawn(step(self.inner.clone())).await.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Internal, "the task of a step of the store did not finish").with_source(error))
        })
    }
}

impl Inner {
    fn writes_jobs(&self) -> bool {
        self.jobs == JobWrites::SameStep
    }
}

#[async_trait]
impl EntryStore for MongoStore {
    fn job_writes(&self) -> JobWrites {
        self.inner.jobs
    }

    async fn lookup(&self, ids: &[EntryId]) -> Result<Lookup> {
        self.inner.look_up(ids).await
    }

    async fn read_record(&self, id: &EntryId) -> Result<FullRecord> {
        self.inner.read_full_record(id).await
    }

    async fn begin(&self, begin: Begin) -> Result<BeginOutcome> {
        self.inner.begin_run(&begin).await
    }

    async fn commit(&self, commit: Commit) -> Result<CommitOutcome> {
        self.whole(async move |inner| inner.commit_run(&commit).await).await
    }

    async fn changed_since(&self, revision: u64, dependencies: &[Dependency]) -> Result<ChangedSince> {
        self.inner.changes_since(revision, dependencies).await
    }

    async fn abort(&self, abort: Abort) -> Result<bool> {
        self.inner.abort_run(&abort).await
    }

    async fn extend(&self, runs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
        self.inner.extend_runs(runs, lease).await
    }

    async fn record_waits(&self, wait: RecordWaits) -> Result<Vec<(EntryId, EntryId)>> {
        self.inner.record_waits_of_runs(&wait).await
    }

    async fn remove(&self, id: &EntryId, token: Option<Token>) -> Result<bool> {
        self.inner.remove_entry(id, token).await
    }
}

#[async_trait]
impl InvalidationStore for MongoStore {
    async fn invalidate(&self, invalidation: Invalidation) -> Result<Invalidated> {
        self.whole(async move |inner| inner.invalidate_all(&invalidation).await).await
    }

    async fn new_epoch(&self) -> Result<Epoch> {
        self.inner.start_epoch().await
    }

    async fn maintain(&self, limit: usize) -> Result<Maintained> {
        self.whole(async move |inner| inner.run_maintenance(limit).await).await
    }
}

#[async_trait]
impl FeedStore for MongoStore {
    async fn attach(&self, sources: &[SourceId]) -> Result<()> {
        self.inner.attach_sources(sources).await
    }

    async fn keep_attached(&self, valid_for: Duration) -> Result<()> {
        self.inner.keep_sources_attached(valid_for).await
    }

    async fn lead(&self, feed: &FeedId, holder: Token, lease: Duration) -> Result<Leadership> {
        self.inner.lead_feed(feed, holder, lease).await
    }

    async fn resign(&self, feed: &FeedId, fence: u64) -> Result<()> {
        self.inner.resign_feed(feed, fence).await
    }

    async fn positions(&self, sources: &[SourceId]) -> Result<Positions> {
        self.inner.saved_positions(sources).await
    }

    async fn restart(&self, step: FeedStep) -> Result<()> {
        self.inner.restart_sources(&step).await
    }

    async fn programs(&self, step: ProgramStep) -> Result<Programs> {
        self.inner.step_of_programs(&step).await
    }
}

#[async_trait]
impl InspectStore for MongoStore {
    async fn stale(&self, page: Page) -> Result<Scanned> {
        self.inner.stale_page(&page).await
    }

    async fn inspect(&self, id: &EntryId) -> Result<Option<Record>> {
        self.inner.read_full_record(id).await.map(|full| full.record)
    }

    async fn dependants(&self, dependency: &Dependency, page: Page) -> Result<Dependants> {
        self.inner.dependants_page(dependency, &page).await
    }

    async fn examine(&self) -> Result<Examination> {
        examine_backend(&self.inner.link).await
    }

    async fn stats(&self) -> Result<StoreStats> {
        self.inner.numbers().await
    }
}

impl fmt::Debug for MongoStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoStore")
            .field("namespace", &self.inner.keys.name)
            .field("jobs", &self.inner.jobs)
            .field("link", &self.inner.link)
            .finish_non_exhaustive()
    }
}

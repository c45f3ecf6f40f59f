//! The store: the state machine of the memory backend over keys.

mod commit;
mod feeds;
mod invalidate;
mod listing;
mod maintain;
mod needs;
mod programs;
mod record;
mod repair;
mod runs;
mod waits;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use smache_core::{
    Abort, Begin, BeginOutcome, CacheStore, ChangedSince, Commit, CommitOutcome, Dependants, Dependency, EntryId,
    Epoch, Examination, FeedId, FeedStep, Invalidated, Invalidation, JobWrites, Leadership, Lookup, Maintained, Page,
    Positions, ProgramStep, Programs, Record, Result, Scanned, SourceId, StoreStats, Token, Traced, Wait,
};

use crate::space::Space;

/// A cache store on a key-value store. [`KvBackend`](crate::KvBackend) gives it.
#[derive(Debug)]
pub struct KvStore {
    space: Arc<Space>,
}

impl KvStore {
    pub(crate) fn new(space: Arc<Space>) -> Self {
        Self { space }
    }
}

#[async_trait]
impl CacheStore for KvStore {
    fn job_writes(&self) -> JobWrites {
        self.space.job_writes
    }

    async fn lookup(&self, ids: &[EntryId]) -> Result<Lookup> {
        self.space.read(|step| Box::pin(step.lookup(ids))).await
    }

    async fn begin(&self, begin: Begin) -> Result<BeginOutcome> {
        self.space.write(|step| Box::pin(step.begin(&begin))).await
    }

    async fn commit(&self, commit: Commit) -> Result<CommitOutcome> {
        self.space.write(|step| Box::pin(step.commit_run(&commit))).await
    }

    async fn changed_since(&self, clock: u64, dependencies: &[Dependency]) -> Result<ChangedSince> {
        self.space.read(|step| Box::pin(step.changes_since(clock, dependencies))).await
    }

    async fn abort(&self, abort: Abort) -> Result<bool> {
        self.space.write(|step| Box::pin(step.abort(&abort))).await
    }

    async fn extend(&self, runs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
        self.space.write(|step| Box::pin(step.extend_runs(runs, lease))).await
    }

    async fn wait(&self, wait: Wait) -> Result<Vec<(EntryId, EntryId)>> {
        self.space.write(|step| Box::pin(step.wait(&wait))).await
    }

    async fn remove(&self, id: &EntryId, token: Option<Token>) -> Result<bool> {
        self.space.write(|step| Box::pin(step.remove(id, token))).await
    }

    async fn invalidate(&self, invalidation: Invalidation) -> Result<Invalidated> {
        invalidate::invalidate(&self.space, &invalidation).await
    }

    async fn new_epoch(&self) -> Result<Epoch> {
        self.space.write(|step| Box::pin(step.new_epoch())).await
    }

    async fn attach(&self, sources: &[SourceId]) -> Result<()> {
        self.space.write(|step| Box::pin(step.attach(sources))).await
    }

    async fn keep_attached(&self, lease: Duration) -> Result<()> {
        self.space.write(|step| Box::pin(step.keep_attached(lease))).await
    }

    async fn lead(&self, feed: &FeedId, holder: Token, lease: Duration) -> Result<Leadership> {
        self.space.write(|step| Box::pin(step.lead(feed, holder, lease))).await
    }

    async fn resign(&self, feed: &FeedId, fence: u64) -> Result<()> {
        self.space.write(|step| Box::pin(step.resign(feed, fence))).await
    }

    async fn positions(&self, sources: &[SourceId]) -> Result<Positions> {
        self.space.read(|step| Box::pin(step.saved(sources))).await
    }

    async fn restart(&self, feed: FeedStep) -> Result<()> {
        self.space.write(|step| Box::pin(step.restart(&feed))).await
    }

    async fn programs(&self, programs: ProgramStep) -> Result<Programs> {
        if programs == ProgramStep::default() {
            return self.space.read(|step| Box::pin(step.programs(&programs))).await;
        }
        self.space.write(|step| Box::pin(step.programs(&programs))).await
    }

    async fn maintain(&self, limit: usize) -> Result<Maintained> {
        maintain::maintain(&self.space, limit).await
    }

    async fn stale(&self, page: Page) -> Result<Scanned> {
        self.space.read(|step| Box::pin(step.stale(&page))).await
    }

    async fn trace(&self, id: &EntryId) -> Result<Traced> {
        self.space.read(|step| Box::pin(step.trace(id))).await
    }

    async fn inspect(&self, id: &EntryId) -> Result<Option<Record>> {
        self.space.read(|step| Box::pin(step.record(id))).await
    }

    async fn dependants(&self, dependency: &Dependency, page: Page) -> Result<Dependants> {
        self.space.read(|step| Box::pin(step.dependants(dependency, &page))).await
    }

    async fn examine(&self) -> Result<Examination> {
        self.space.store.examine().await
    }

    async fn stats(&self) -> Result<StoreStats> {
        self.space.read(|step| Box::pin(step.stats())).await
    }
}

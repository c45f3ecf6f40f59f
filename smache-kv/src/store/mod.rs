//! The store: the state machine of the memory backend over keys.

mod commit;
mod evict;
mod feeds;
mod first;
#[cfg(test)]
mod fuzz;
mod invalidate;
mod lookup;
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
    Abort, Begin, BeginOutcome, ChangedSince, Commit, CommitOutcome, Dependants, Dependency, EntryId, EntryStore,
    Epoch, Examination, FeedId, FeedStep, FeedStore, FullRecord, InspectStore, Invalidated, Invalidation,
    InvalidationStore, JobWrites, Leadership, Lookup, Maintained, Page, Positions, ProgramStep, Programs, Record,
    RecordWaits, Result, Scanned, SourceId, StoreStats, Token,
};

use crate::area::SharedArea;

/// A cache store on a key-value store. [`KvBackend`](crate::KvBackend) creates it.
#[derive(Debug)]
pub struct KvStore {
    area: Arc<SharedArea>,
}

impl KvStore {
    pub(crate) fn new(area: Arc<SharedArea>) -> Self {
        Self { area }
    }
}

#[async_trait]
impl EntryStore for KvStore {
    fn job_writes(&self) -> JobWrites {
        self.area.job_writes
    }

    async fn lookup(&self, ids: &[EntryId]) -> Result<Lookup> {
        self.area.read_from(first::of_lookup(&self.area.keys, ids), |step| Box::pin(step.lookup(ids))).await
    }

    async fn read_record(&self, id: &EntryId) -> Result<FullRecord> {
        self.area.read_from(first::of_record(&self.area.keys, id), |step| Box::pin(step.read_record(id))).await
    }

    async fn begin(&self, begin: Begin) -> Result<BeginOutcome> {
        let first = first::of_begin(&self.area.keys, &begin.id);
        self.area.write_from(first, |step| Box::pin(step.begin(&begin))).await
    }

    async fn commit(&self, commit: Commit) -> Result<CommitOutcome> {
        self.area.limits.admit(&commit, &self.area.keys)?;
        let first = first::of_commit(&self.area.keys, &commit);
        let outcome = self.area.write_from(first, |step| Box::pin(step.commit_run(&commit))).await?;
        if matches!(outcome, CommitOutcome::Fresh { .. } | CommitOutcome::Conflicted { .. }) {
            evict::evict_after_commit(&self.area, commit.id).await;
        }
        Ok(outcome)
    }

    async fn changed_since(&self, revision: u64, dependencies: &[Dependency]) -> Result<ChangedSince> {
        self.area.read(|step| Box::pin(step.changes_since(revision, dependencies))).await
    }

    async fn abort(&self, abort: Abort) -> Result<bool> {
        self.area.write(|step| Box::pin(step.abort(&abort))).await
    }

    async fn extend(&self, runs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
        let mut held = Vec::with_capacity(runs.len());
        for runs in runs.chunks(self.area.limits.jobs()) {
            held.extend(self.area.write(|step| Box::pin(step.extend_runs(runs, lease))).await?);
        }
        Ok(held)
    }

    async fn record_waits(&self, wait: RecordWaits) -> Result<Vec<(EntryId, EntryId)>> {
        self.area.write(|step| Box::pin(step.record_waits(&wait))).await
    }

    async fn remove(&self, id: &EntryId, token: Option<Token>) -> Result<bool> {
        self.area.write(|step| Box::pin(step.remove(id, token))).await
    }
}

#[async_trait]
impl InvalidationStore for KvStore {
    async fn invalidate(&self, invalidation: Invalidation) -> Result<Invalidated> {
        let mut all = Invalidated::default();
        for part in self.area.limits.parts(invalidation) {
            let done = invalidate::invalidate(&self.area, &part).await?;
            all.revision = done.revision;
            all.marked += done.marked;
            all.jobs.extend(done.jobs);
        }
        Ok(all)
    }

    async fn new_epoch(&self) -> Result<Epoch> {
        self.area.write(|step| Box::pin(step.new_epoch())).await
    }

    async fn maintain(&self, limit: usize) -> Result<Maintained> {
        maintain::maintain(&self.area, limit).await
    }
}

#[async_trait]
impl FeedStore for KvStore {
    async fn attach(&self, sources: &[SourceId]) -> Result<()> {
        self.area.write(|step| Box::pin(step.attach(sources))).await
    }

    async fn keep_attached(&self, valid_for: Duration) -> Result<()> {
        self.area.write(|step| Box::pin(step.keep_attached(valid_for))).await
    }

    async fn lead(&self, feed: &FeedId, holder: Token, lease: Duration) -> Result<Leadership> {
        self.area.write(|step| Box::pin(step.lead(feed, holder, lease))).await
    }

    async fn resign(&self, feed: &FeedId, fence: u64) -> Result<()> {
        self.area.write(|step| Box::pin(step.resign(feed, fence))).await
    }

    async fn positions(&self, sources: &[SourceId]) -> Result<Positions> {
        self.area.read(|step| Box::pin(step.saved(sources))).await
    }

    async fn restart(&self, feed: FeedStep) -> Result<()> {
        self.area.write(|step| Box::pin(step.restart(&feed))).await
    }

    async fn programs(&self, programs: ProgramStep) -> Result<Programs> {
        if programs == ProgramStep::default() {
            return self.area.read(|step| Box::pin(step.programs(&programs))).await;
        }
        self.area.write(|step| Box::pin(step.programs(&programs))).await
    }
}

#[async_trait]
impl InspectStore for KvStore {
    async fn stale(&self, page: Page) -> Result<Scanned> {
        self.area.read(|step| Box::pin(step.stale(&page))).await
    }

    async fn inspect(&self, id: &EntryId) -> Result<Option<Record>> {
        self.area.read(|step| Box::pin(step.record(id))).await
    }

    async fn dependants(&self, dependency: &Dependency, page: Page) -> Result<Dependants> {
        self.area.read(|step| Box::pin(step.dependants(dependency, &page))).await
    }

    async fn examine(&self) -> Result<Examination> {
        self.area.examine().await
    }

    async fn stats(&self) -> Result<StoreStats> {
        self.area.read(|step| Box::pin(step.stats())).await
    }
}

//! The store.

mod commit;
mod feeds;
mod invalidate;
mod lookup;
mod maintain;
mod programs;
mod runs;
mod sink;
mod state;
mod waits;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use smache_core::{
    Abort, Begin, BeginOutcome, ChangedSince, Commit, CommitOutcome, Dependants, Dependency, EntryId, EntryStore,
    Epoch, Examination, FeedId, FeedStep, FeedStore, FullRecord, Incarnation, InspectStore, Invalidated, Invalidation,
    InvalidationStore, JobWrites, Leadership, Lookup, Maintained, Page, Positions, ProgramStep, Programs, Record,
    RecordWaits, Result, Scanned, SourceId, StoreStats, Timestamp, Token,
};

use self::sink::JobSink;
pub(crate) use self::state::Cache;
use crate::namespace::{NamespaceState, State};

/// A store in the memory of this process. [`Memory`](crate::Memory) creates it.
#[derive(Debug)]
pub struct MemoryStore {
    shared: Arc<NamespaceState>,
    job_writes: JobWrites,
}

impl MemoryStore {
    pub(crate) fn new(shared: Arc<NamespaceState>, job_writes: JobWrites) -> Self {
        Self { shared, job_writes }
    }

    /// Runs a step that may need jobs.
    fn step_with_jobs<T>(
        &self,
        step: impl FnOnce(&mut Cache, &Incarnation, &mut JobSink<'_>, Timestamp) -> T,
    ) -> Result<T> {
        self.shared.step(|State { cache, jobs, incarnation }, now| {
            step(cache, incarnation, &mut JobSink::new(self.job_writes, jobs, now), now)
        })
    }
}

#[async_trait]
impl EntryStore for MemoryStore {
    fn job_writes(&self) -> JobWrites {
        self.job_writes
    }

    async fn lookup(&self, ids: &[EntryId]) -> Result<Lookup> {
        self.shared.step(|State { cache, incarnation, .. }, now| Lookup {
            now,
            incarnation: incarnation.clone(),
            validity: cache.validity(),
            entries: ids.iter().map(|id| cache.read(id)).collect(),
        })
    }

    async fn read_record(&self, id: &EntryId) -> Result<FullRecord> {
        self.shared.step(|State { cache, incarnation, .. }, now| FullRecord {
            now,
            incarnation: incarnation.clone(),
            validity: cache.validity(),
            record: cache.record(id),
        })
    }

    async fn begin(&self, begin: Begin) -> Result<BeginOutcome> {
        self.shared.step(|State { cache, incarnation, .. }, now| cache.begin(&begin, incarnation, now))
    }

    async fn commit(&self, commit: Commit) -> Result<CommitOutcome> {
        self.step_with_jobs(|cache, incarnation, sink, now| cache.commit(commit, incarnation, now, sink))
    }

    async fn changed_since(&self, revision: u64, dependencies: &[Dependency]) -> Result<ChangedSince> {
        self.shared.step(|State { cache, incarnation, .. }, _| cache.changes_since(revision, dependencies, incarnation))
    }

    async fn abort(&self, abort: Abort) -> Result<bool> {
        self.step_with_jobs(|cache, _, sink, now| cache.abort(&abort, now, sink))
    }

    async fn extend(&self, runs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
        self.shared
            .step(|state, now| runs.iter().map(|(id, token)| state.cache.extend(id, *token, now, lease)).collect())
    }

    async fn record_waits(&self, wait: RecordWaits) -> Result<Vec<(EntryId, EntryId)>> {
        self.shared.step(|state, now| state.cache.record_waits(&wait, now))
    }

    async fn remove(&self, id: &EntryId, token: Option<Token>) -> Result<bool> {
        self.step_with_jobs(|cache, _, sink, _| cache.remove(id, token, sink))
    }
}

#[async_trait]
impl InvalidationStore for MemoryStore {
    async fn invalidate(&self, invalidation: Invalidation) -> Result<Invalidated> {
        self.step_with_jobs(|cache, incarnation, sink, now| cache.invalidate(&invalidation, incarnation, now, sink))?
    }

    async fn new_epoch(&self) -> Result<Epoch> {
        self.shared.step(|state, _| state.cache.new_epoch())
    }

    async fn maintain(&self, limit: usize) -> Result<Maintained> {
        self.step_with_jobs(|cache, _, sink, now| cache.maintain(limit, now, sink))
    }
}

#[async_trait]
impl FeedStore for MemoryStore {
    async fn attach(&self, sources: &[SourceId]) -> Result<()> {
        self.shared.step(|State { cache, incarnation, .. }, _| cache.attach(sources, incarnation))
    }

    // Only this process can reach the store: no other one replaces it, so it needs no lease.
    async fn keep_attached(&self, _: Duration) -> Result<()> {
        Ok(())
    }

    async fn lead(&self, feed: &FeedId, holder: Token, lease: Duration) -> Result<Leadership> {
        self.shared.step(|state, now| state.cache.lead(feed, holder, lease, now))
    }

    async fn resign(&self, feed: &FeedId, fence: u64) -> Result<()> {
        self.shared.step(|state, now| state.cache.resign(feed, fence, now))
    }

    async fn positions(&self, sources: &[SourceId]) -> Result<Positions> {
        self.shared.step(|State { cache, incarnation, .. }, _| Positions {
            positions: sources.iter().map(|source| cache.position(source)).collect(),
            incarnation: incarnation.clone(),
        })
    }

    async fn restart(&self, step: FeedStep) -> Result<()> {
        self.shared.step(|State { cache, incarnation, .. }, now| cache.restart(&step, incarnation, now))?
    }

    async fn programs(&self, step: ProgramStep) -> Result<Programs> {
        self.shared.step(|state, now| state.cache.programs(step, now))
    }
}

#[async_trait]
impl InspectStore for MemoryStore {
    async fn stale(&self, page: Page) -> Result<Scanned> {
        self.shared.step(|state, _| state.cache.stale(&page))?
    }

    async fn inspect(&self, id: &EntryId) -> Result<Option<Record>> {
        self.shared.step(|state, _| state.cache.record(id))
    }

    async fn dependants(&self, dependency: &Dependency, page: Page) -> Result<Dependants> {
        self.shared.step(|state, _| state.cache.dependants(dependency, &page))?
    }

    async fn examine(&self) -> Result<Examination> {
        Ok(crate::config::examination())
    }

    async fn stats(&self) -> Result<StoreStats> {
        self.shared.step(|state, _| state.cache.stats())
    }
}

//! The store: one script for each step.

mod commit;
mod feeds;
#[cfg(test)]
mod fuzz;
mod invalidate;
mod lookup;
mod maintain;
mod programs;
mod record;
mod runs;
mod validity;
mod waits;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::Value;
use smache_core::{
    Abort, Begin, BeginOutcome, ChangedSince, Commit, CommitOutcome, Dependants, Dependency, EntryId, EntryStore,
    Epoch, Examination, FeedId, FeedStep, FeedStore, FullRecord, InspectStore, Invalidated, Invalidation,
    InvalidationStore, JobWrites, Leadership, Lookup, Maintained, Page, Positions, ProgramStep, Programs, Record,
    RecordWaits, Result, Scanned, SourceId, StoreStats, Token,
};

use self::validity::ValidityCache;
use crate::{
    connection::Link,
    examine::Holds,
    keys::Keys,
    reply::Reply,
    script::{Call, Script},
};

/// A cache store on Redis.
pub struct RedisStore {
    link: Arc<Link>,
    keys: Keys,
    jobs: JobWrites,
    validity: ValidityCache,
}

impl RedisStore {
    pub(crate) fn new(link: Arc<Link>, keys: Keys, jobs: JobWrites) -> Self {
        Self { link, keys, jobs, validity: ValidityCache::default() }
    }

    /// A call of a script of the store: most scripts need to know whether the store writes the jobs.
    fn step(&self, script: &'static Script) -> Call {
        let mut call = script.call(&self.keys);
        call.flag(self.jobs == JobWrites::SameStep);
        call
    }

    /// A call about one entry, whose record may have a wrong type.
    async fn call_on(&self, id: &EntryId, call: &Call) -> Result<Value> {
        self.link.call(call).await.map_err(|error| error.with_context("key", self.keys.record_name(id)))
    }
}

#[async_trait]
impl EntryStore for RedisStore {
    fn job_writes(&self) -> JobWrites {
        self.jobs
    }

    async fn lookup(&self, ids: &[EntryId]) -> Result<Lookup> {
        self.look_up(ids).await
    }

    async fn read_record(&self, id: &EntryId) -> Result<FullRecord> {
        self.read_full_record(id).await
    }

    async fn begin(&self, begin: Begin) -> Result<BeginOutcome> {
        self.begin_run(&begin).await
    }

    async fn commit(&self, commit: Commit) -> Result<CommitOutcome> {
        self.commit_run(&commit).await
    }

    async fn changed_since(&self, revision: u64, dependencies: &[Dependency]) -> Result<ChangedSince> {
        self.changes_since(revision, dependencies).await
    }

    async fn abort(&self, abort: Abort) -> Result<bool> {
        self.abort_run(&abort).await
    }

    async fn extend(&self, runs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
        self.extend_runs(runs, lease).await
    }

    async fn record_waits(&self, wait: RecordWaits) -> Result<Vec<(EntryId, EntryId)>> {
        self.record_waits_of_runs(&wait).await
    }

    async fn remove(&self, id: &EntryId, token: Option<Token>) -> Result<bool> {
        self.remove_entry(id, token).await
    }
}

#[async_trait]
impl InvalidationStore for RedisStore {
    async fn invalidate(&self, invalidation: Invalidation) -> Result<Invalidated> {
        self.invalidate_all(&invalidation).await
    }

    async fn new_epoch(&self) -> Result<Epoch> {
        self.start_epoch().await
    }

    async fn maintain(&self, limit: usize) -> Result<Maintained> {
        self.run_maintenance(limit).await
    }
}

#[async_trait]
impl FeedStore for RedisStore {
    async fn attach(&self, sources: &[SourceId]) -> Result<()> {
        self.attach_sources(sources).await
    }

    async fn keep_attached(&self, valid_for: Duration) -> Result<()> {
        self.keep_sources_attached(valid_for).await
    }

    async fn lead(&self, feed: &FeedId, holder: Token, lease: Duration) -> Result<Leadership> {
        self.lead_feed(feed, holder, lease).await
    }

    async fn resign(&self, feed: &FeedId, fence: u64) -> Result<()> {
        self.resign_feed(feed, fence).await
    }

    async fn positions(&self, sources: &[SourceId]) -> Result<Positions> {
        self.saved_positions(sources).await
    }

    async fn restart(&self, step: FeedStep) -> Result<()> {
        self.restart_sources(&step).await
    }

    async fn programs(&self, step: ProgramStep) -> Result<Programs> {
        self.step_of_programs(&step).await
    }
}

#[async_trait]
impl InspectStore for RedisStore {
    async fn stale(&self, page: Page) -> Result<Scanned> {
        self.stale_page(&page).await
    }

    async fn inspect(&self, id: &EntryId) -> Result<Option<Record>> {
        self.whole_record(id).await
    }

    async fn dependants(&self, dependency: &Dependency, page: Page) -> Result<Dependants> {
        self.dependants_page(dependency, &page).await
    }

    async fn examine(&self) -> Result<Examination> {
        self.link.examine(Holds::Results).await
    }

    async fn stats(&self) -> Result<StoreStats> {
        let mut counts = redis::pipe();
        counts.cmd("ZCARD").arg(self.keys.of("x"));
        counts.cmd("ZCARD").arg(self.keys.of("s"));
        counts.cmd("SCARD").arg(self.keys.of("z"));
        counts.cmd("ZCARD").arg(self.keys.of("run:l"));
        counts.cmd("HGET").arg(self.keys.of("c")).arg("k");
        counts.cmd("ZCARD").arg(self.keys.of("n"));
        let (values, live) = self.link.read(&counts).await?;
        let mut counts = Vec::with_capacity(values.len());
        for value in values {
            match value {
                Value::ServerError(error) => return Err(live.failed(error, &self.keys, self.keys.prefix())),
                Value::Nil => counts.push(0),
                value => counts.push(crate::reply::number(&value).ok_or_else(|| crate::error::unexpected("stats"))?),
            }
        }
        let [entries, waiting, lazy, running, revision, invalidations] = counts.as_slice() else {
            return Err(crate::error::unexpected("stats"));
        };
        let mut stats = StoreStats::default();
        stats.entries = *entries;
        stats.stale = waiting + lazy;
        stats.running = *running;
        stats.revision = *revision;
        stats.invalidations = *invalidations;
        Ok(stats)
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("keys", &self.keys.prefix())
            .field("jobs", &self.jobs)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

/// The ids in an answer.
fn ids(reply: Reply) -> Result<Vec<EntryId>> {
    let unexpected = reply.unexpected();
    reply.map(|value| EntryId::from_slice(&crate::reply::bytes(value).ok_or_else(|| unexpected.clone())?)).collect()
}

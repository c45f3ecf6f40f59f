//! The store: one call of a function a step.

mod feeds;
mod read;
mod runs;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use smache_core::{
    Abort, Begin, BeginOutcome, CacheStore, Commit, CommitOutcome, Dependants, Dependency, EntryId, Epoch, Examination,
    FeedId, FeedStep, Invalidated, Invalidation, JobWrites, Leadership, Lookup, Maintained, Namespace, Page, Positions,
    Record, Result, Scanned, SourceId, StoreStats, Token, Traced, Wait,
};
use sqlx::{Row, postgres::PgRow};

pub(super) use self::feeds::Marks;
use super::{
    bell::Bell,
    link::{Link, Statement},
};
use crate::error::{failed, unexpected};

/// A cache store on PostgreSQL.
pub struct PostgresStore {
    link: Arc<Link>,
    name: String,
    jobs: JobWrites,
    bell: Bell,
}

impl PostgresStore {
    pub(super) fn new(link: Arc<Link>, namespace: &Namespace, jobs: JobWrites, bell: Bell) -> Self {
        Self { link, name: namespace.as_str().to_owned(), jobs, bell }
    }

    fn writes_jobs(&self) -> bool {
        self.jobs == JobWrites::SameStep
    }

    /// A step that answers one row, whose first argument is the namespace.
    async fn step(
        &self,
        operation: &'static str,
        sql: &'static str,
        bind: impl Fn(Statement) -> Statement + Send + Sync,
    ) -> Result<Answer> {
        let bind = |query: Statement| bind(query.bind(self.name.clone()));
        let mut rows = match operation {
            "invalidate" | "maintain" => self.link.long_step(operation, sql, bind).await?,
            _ => self.link.step(operation, sql, bind).await?,
        };
        let row = rows.pop().ok_or_else(|| unexpected(operation))?;
        Ok(Answer { row, database: self.link.server.clone() })
    }
}

/// The one row that a step answered.
pub(super) struct Answer {
    pub(super) row: PgRow,
    pub(super) database: Arc<str>,
}

impl Answer {
    pub(super) fn get<T>(&self, column: &str) -> Result<T>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        self.row.try_get(column).map_err(|error| failed(error, &self.database))
    }

    pub(super) fn number(&self, column: &str) -> Result<u64> {
        self.get::<i64>(column).map(crate::cells::count)
    }

    pub(super) fn ids(&self, column: &str) -> Result<Vec<EntryId>> {
        let ids: Option<Vec<Vec<u8>>> = self.get(column)?;
        ids.unwrap_or_default().iter().map(|id| EntryId::from_slice(id)).collect()
    }
}

#[async_trait]
impl CacheStore for PostgresStore {
    fn job_writes(&self) -> JobWrites {
        self.jobs
    }

    async fn lookup(&self, ids: &[EntryId]) -> Result<Lookup> {
        self.look_up(ids).await
    }

    async fn begin(&self, begin: Begin) -> Result<BeginOutcome> {
        self.begin_run(&begin).await
    }

    async fn commit(&self, commit: Commit) -> Result<CommitOutcome> {
        self.commit_run(&commit).await
    }

    async fn abort(&self, abort: Abort) -> Result<bool> {
        self.abort_run(&abort).await
    }

    async fn extend(&self, runs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
        self.extend_runs(runs, lease).await
    }

    async fn wait(&self, wait: Wait) -> Result<Vec<(EntryId, EntryId)>> {
        self.note_waits(&wait).await
    }

    async fn remove(&self, id: &EntryId, token: Option<Token>) -> Result<bool> {
        self.remove_entry(id, token).await
    }

    async fn invalidate(&self, invalidation: Invalidation) -> Result<Invalidated> {
        self.invalidate_all(&invalidation).await
    }

    async fn new_epoch(&self) -> Result<Epoch> {
        self.start_epoch().await
    }

    async fn attach(&self, sources: &[SourceId]) -> Result<()> {
        self.attach_sources(sources).await
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

    async fn maintain(&self, limit: usize) -> Result<Maintained> {
        self.keep_up(limit).await
    }

    async fn stale(&self, page: Page) -> Result<Scanned> {
        self.stale_page(&page).await
    }

    async fn trace(&self, id: &EntryId) -> Result<Traced> {
        self.trace_record(id).await
    }

    async fn inspect(&self, id: &EntryId) -> Result<Option<Record>> {
        self.trace_record(id).await.map(|traced| traced.record)
    }

    async fn dependants(&self, dependency: &Dependency, page: Page) -> Result<Dependants> {
        self.dependants_page(dependency, &page).await
    }

    async fn examine(&self) -> Result<Examination> {
        self.link.examine().await
    }

    async fn stats(&self) -> Result<StoreStats> {
        self.numbers().await
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("namespace", &self.name)
            .field("jobs", &self.jobs)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

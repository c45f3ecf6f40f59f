//! The queue: jobs as rows, reserved past those that others hold.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use smache_core::{
    Enqueued, EntryId, Examination, FoundJob, Incarnation, Job, JobCounts, JobPage, JobQueue, JobState, Namespace,
    NewJob, Notifier, Reservation, Reserve, Result, Settled, Settlement, Token, support::limits::PAGE,
};
use sqlx::{Postgres, Row};

use super::link::{Link, Statement};
use crate::{
    cells::{Cells, count, few, id_list, lane_number, millis},
    error::{failed, unexpected},
    job::{End, counts, damaged_jobs, enqueued, found, listed, settled, state_number},
    page::after,
};

const ENQUEUE: &str = concat!("SELECT smache_enqueue(", name!(), ", $2, $3, $4, $5, $6)");
const RESERVE: &str = concat!("SELECT * FROM smache_reserve(", name!(), ", $2, $3, $4, $5, $6)");
const EXTEND: &str = concat!("SELECT smache_extend_jobs(", name!(), ", $2, $3, $4)");
const SETTLE: &str = concat!("SELECT smache_settle(", name!(), ", $2, $3, $4, $5, $6)");
const REQUEUE: &str = concat!("SELECT smache_requeue(", name!(), ", $2)");
const DISCARD: &str = concat!("SELECT smache_discard(", name!(), ", $2)");
const DISCARD_UNREADABLE: &str =
    "DELETE FROM smache_jobs j USING smache_namespaces n WHERE n.name = $1 AND j.ns = n.ns AND j.id = ANY ($2)";
const COUNTS: &str = "SELECT j.state, j.lane, count(*) FROM smache_jobs j JOIN smache_namespaces n USING (ns) \
     WHERE n.name = $1 GROUP BY j.state, j.lane";
const LIST: &str = "SELECT j.id, j.at, j.error FROM smache_jobs j JOIN smache_namespaces n USING (ns) \
     WHERE n.name = $1 AND j.id > $2 AND j.state = $3 ORDER BY j.id LIMIT $4";
const FIND: &str = "SELECT j.lane, j.state, j.at, j.errors, j.crashes, j.error \
     FROM smache_jobs j JOIN smache_namespaces n USING (ns) WHERE n.name = $1 AND j.id = $2";

const INCARNATION: &str = "SELECT smache_incarnation()";

/// A job queue on PostgreSQL.
pub struct PostgresQueue {
    link: Arc<Link>,
    name: String,
    notifier: Notifier,
}

impl PostgresQueue {
    pub(super) fn new(link: Arc<Link>, namespace: &Namespace, notifier: Notifier) -> Self {
        Self { link, name: namespace.as_str().to_owned(), notifier }
    }

    /// A step with one value as its answer. Its first argument is the namespace.
    async fn step<T>(
        &self,
        operation: &'static str,
        sql: &'static str,
        bind: impl Fn(Statement) -> Statement + Send + Sync,
    ) -> Result<T>
    where
        T: for<'r> sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
    {
        let rows = self.link.step(operation, sql, |query| bind(query.bind(self.name.clone()))).await?;
        let row = rows.first().ok_or_else(|| unexpected(operation))?;
        row.try_get(0).map_err(|error| failed(error, &self.link.server))
    }

    fn broken(&self, error: sqlx::Error) -> smache_core::Error {
        failed(error, &self.link.server)
    }
}

#[async_trait]
impl JobQueue for PostgresQueue {
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
        let ids: Vec<EntryId> = jobs.iter().map(|job| job.id).collect();
        let lanes: Vec<i64> = jobs.iter().map(|job| lane_number(job.lane)).collect();
        let priorities: Vec<i64> = jobs.iter().map(|job| job.priority.into()).collect();
        let delays: Vec<i64> = jobs.iter().map(|job| millis(job.delay)).collect();
        let revives: Vec<bool> = jobs.iter().map(|job| job.revive).collect();
        let bind =
            |query: Statement| query.bind(id_list(&ids)).bind(&lanes).bind(&priorities).bind(&delays).bind(&revives);
        let answers: Vec<i64> = self.step("enqueue", ENQUEUE, bind).await?;
        self.notifier.notify();
        answers.into_iter().map(enqueued).collect()
    }

    async fn reserve(&self, reserve: Reserve) -> Result<Reservation> {
        let max = reserve.max.min(PAGE) as i64;
        let bind = |query: Statement| {
            let query = query.bind(self.name.clone()).bind(lane_number(reserve.lane)).bind(max);
            query.bind(millis(reserve.lease)).bind(reserve.token.as_bytes().to_vec()).bind(reserve.again)
        };
        let rows = self.link.step("reserve", RESERVE, bind).await?;
        let mut reservation = Reservation::default();
        let mut unreadable = Vec::new();
        for row in &rows {
            let cell = |place| row.int(place).map_err(|error| self.broken(error));
            let bytes = |place| row.bytes(place).map_err(|error| self.broken(error));
            match bytes(0)? {
                Some(bytes) => match EntryId::from_slice(&bytes) {
                    Ok(id) => reservation.jobs.push(Job {
                        id,
                        lane: reserve.lane,
                        token: reserve.token,
                        errors: few(cell(1)?.unwrap_or(0)),
                        crashes: few(cell(2)?.unwrap_or(0)),
                    }),
                    Err(_) => unreadable.push(bytes),
                },
                None => reservation.next_due = cell(3)?.map(|due| Duration::from_millis(count(due))),
            }
        }
        if !unreadable.is_empty() {
            damaged_jobs(unreadable.len());
            let bind = |query: Statement| query.bind(self.name.clone()).bind(unreadable.clone());
            self.link.step("discard", DISCARD_UNREADABLE, bind).await?;
        }
        Ok(reservation)
    }

    async fn extend(&self, jobs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
        let (ids, tokens): (Vec<EntryId>, Vec<Vec<u8>>) =
            jobs.iter().map(|(id, token)| (*id, token.as_bytes().to_vec())).unzip();
        let bind = |query: Statement| query.bind(id_list(&ids)).bind(&tokens).bind(millis(lease));
        self.step("extend", EXTEND, bind).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let ids: Vec<EntryId> = settlements.iter().map(|settlement| settlement.id).collect();
        let tokens: Vec<&[u8]> = settlements.iter().map(|settlement| settlement.token.as_bytes().as_slice()).collect();
        let ends: Vec<End> = settlements.iter().map(|settlement| End::of(&settlement.end)).collect();
        let kinds: Vec<i64> = ends.iter().map(|end| end.kind).collect();
        let delays: Vec<i64> = ends.iter().map(|end| end.delay).collect();
        let errors: Vec<Option<&str>> = ends.iter().map(|end| end.error.as_deref()).collect();
        let bind = |query: Statement| query.bind(id_list(&ids)).bind(&tokens).bind(&kinds).bind(&delays).bind(&errors);
        let answers: Vec<i64> = self.step("settle", SETTLE, bind).await?;
        if answers.contains(&1) || kinds.iter().any(|kind| (1..=2).contains(kind)) {
            self.notifier.notify();
        }
        answers.into_iter().map(settled).collect()
    }

    async fn requeue(&self, ids: &[EntryId]) -> Result<u64> {
        let back = count(self.step("requeue", REQUEUE, |query| query.bind(id_list(ids))).await?);
        if back > 0 {
            self.notifier.notify();
        }
        Ok(back)
    }

    async fn discard(&self, ids: &[EntryId]) -> Result<u64> {
        self.step("discard", DISCARD, |query| query.bind(id_list(ids))).await.map(count)
    }

    async fn examine(&self) -> Result<Examination> {
        self.link.examine().await
    }

    async fn counts(&self) -> Result<JobCounts> {
        let rows = self.link.read("counts", COUNTS, |query| query.bind(self.name.clone())).await?;
        counts(&rows).map_err(|error| self.broken(error))
    }

    async fn list(&self, state: JobState, cursor: Option<Bytes>, limit: usize) -> Result<JobPage> {
        let after = after(cursor.as_deref())?;
        let limit = limit.clamp(1, PAGE);
        let bind = |query: Statement| {
            query.bind(self.name.clone()).bind(after.clone()).bind(state_number(state)).bind(limit as i64 + 1)
        };
        let rows = self.link.read("list", LIST, bind).await?;
        listed(&rows, limit, &self.link.server)
    }

    async fn find(&self, id: &EntryId) -> Result<Option<FoundJob>> {
        let bind = |query: Statement| query.bind(self.name.clone()).bind(id.as_bytes().to_vec());
        let rows = self.link.read("find", FIND, bind).await?;
        rows.first().map(|row| found(row, &self.link.server)).transpose()
    }

    async fn incarnation(&self) -> Result<Incarnation> {
        let rows = self.link.read("incarnation", INCARNATION, |query| query).await?;
        let incarnation = rows.first().map(|row| row.text(0)).transpose().map_err(|error| self.broken(error))?;
        incarnation.flatten().map(Incarnation::new).ok_or_else(|| unexpected("incarnation"))
    }

    async fn wait(&self, timeout: Duration) -> Result<()> {
        self.notifier.notified(timeout).await;
        Ok(())
    }
}

impl fmt::Debug for PostgresQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresQueue").field("namespace", &self.name).field("link", &self.link).finish_non_exhaustive()
    }
}

//! The queue: jobs as rows, one transaction per step.

mod ends;

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use smache_core::{
    Enqueued, EntryId, Examination, FoundJob, Incarnation, Job, JobCounts, JobPage, JobQueue, JobState, Namespace,
    NewJob, Reservation, Reserve, Result, Settled, Settlement, Token, support::limits::PAGE,
};
use tokio::time::Instant;

use super::{
    jobs::ids,
    link::{Link, Statement, Step, name_of},
};
use crate::{
    cells::{Cells, count, few, lane_number, millis},
    error::unexpected,
    job::{counts, damaged_jobs, found, listed, state_number},
    page::after,
};

const STATE: &str = "SELECT state FROM smache_jobs WHERE ns = $1 AND id = $2";
const UNREADABLE: &str = "DELETE FROM smache_jobs WHERE ns = $1 AND id = $2 \
     AND (state NOT IN (0, 1, 2) OR lane NOT IN (0, 1))";
const DISCARD_UNREADABLE: &str = "DELETE FROM smache_jobs WHERE ns = $1 AND id = $2";
const PUT_BACK: &str = "UPDATE smache_jobs SET state = 0, at = $2, token = NULL, crashes = crashes + 1, \
     lane = min(lane, coalesce(again_lane, lane)), priority = min(priority, coalesce(again_priority, priority)), \
     again_at = NULL, again_lane = NULL, again_priority = NULL WHERE ns = $1 AND state = 1 AND at <= $2";
const NEXT_PRIORITY: &str =
    "SELECT min(priority) FROM smache_jobs WHERE ns = $1 AND state = 0 AND lane = $2 AND priority > $3";
const DUE: &str = "SELECT id, errors, crashes FROM smache_jobs \
     WHERE ns = $1 AND state = 0 AND lane = $2 AND priority = $3 AND at <= $4 ORDER BY at LIMIT $5";
const RESERVE: &str = "UPDATE smache_jobs SET state = 1, at = $4, token = $3 WHERE ns = $1 AND id = $2";
const HELD: &str = "SELECT id, errors, crashes FROM smache_jobs \
     WHERE ns = $1 AND state = 1 AND lane = $2 AND token = $3 ORDER BY id";
const SOONEST: &str = "SELECT min(at) FROM smache_jobs WHERE ns = $1 AND state = 0 AND lane = $2 AND priority = $3";
const EXTEND: &str = "UPDATE smache_jobs SET at = $4 WHERE ns = $1 AND id = $2 AND state = 1 AND token = $3";
const REQUEUE: &str = "UPDATE smache_jobs SET state = 0, at = $3, errors = 0, crashes = 0, error = NULL \
     WHERE ns = $1 AND state = 2 AND id IN (SELECT unhex(value) FROM json_each($2))";
const DISCARD: &str = "DELETE FROM smache_jobs WHERE ns = $1 AND state <> 1 \
     AND id IN (SELECT unhex(value) FROM json_each($2))";
const COUNTS: &str = "SELECT j.state, j.lane, count(*) FROM smache_jobs j JOIN smache_namespaces n USING (ns) \
     WHERE n.name = $1 GROUP BY j.state, j.lane";
const LIST: &str = "SELECT j.id, j.at, j.error FROM smache_jobs j JOIN smache_namespaces n USING (ns) \
     WHERE n.name = $1 AND j.id > $2 AND j.state = $3 ORDER BY j.id LIMIT $4";
const FIND: &str = "SELECT j.lane, j.state, j.at, j.errors, j.crashes, j.error \
     FROM smache_jobs j JOIN smache_namespaces n USING (ns) WHERE n.name = $1 AND j.id = $2";
const ADDED: &str = "SELECT added FROM smache_namespaces WHERE name = $1";

const INCARNATION: &str = "SELECT incarnation || $1 FROM smache_meta";

/// How often a waiting worker looks whether another process has added jobs.
const POLL: Duration = Duration::from_millis(50);

/// A job queue on SQLite.
pub struct SqliteQueue {
    link: Arc<Link>,
    name: String,
    /// How many steps had added jobs when this queue's workers last looked.
    seen: AtomicI64,
}

impl SqliteQueue {
    pub(super) fn new(link: Arc<Link>, namespace: &Namespace) -> Self {
        Self { link, name: name_of(namespace), seen: AtomicI64::new(0) }
    }

    async fn added(&self) -> Result<i64> {
        let rows = self.link.read(ADDED, |query| query.bind(self.name.clone())).await?;
        let added = rows.first().map_or(Ok(None), |row| row.int(0)).map_err(|error| self.link.failed(error))?;
        Ok(added.unwrap_or(0))
    }
}

#[async_trait]
impl JobQueue for SqliteQueue {
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
        let now = self.link.now();
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, now).await?;
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            answers.push(step.enqueue(job).await?);
        }
        step.commit().await?;
        Ok(answers)
    }

    async fn reserve(&self, reserve: Reserve) -> Result<Reservation> {
        let now = self.link.now();
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, now).await?;
        let added = step.added;
        let reservation = step.reserve(&reserve).await?;
        step.commit().await?;
        self.seen.fetch_max(added, Ordering::Relaxed);
        Ok(reservation)
    }

    async fn extend(&self, jobs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
        let now = self.link.now();
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, now).await?;
        let ns = step.ns;
        let until = now + millis(lease);
        let mut held = Vec::with_capacity(jobs.len());
        for (id, token) in jobs {
            let bind = |query: Statement| {
                query.bind(ns).bind(id.as_bytes().to_vec()).bind(token.as_bytes().to_vec()).bind(until)
            };
            held.push(step.execute(EXTEND, bind).await? > 0);
        }
        step.commit().await?;
        Ok(held)
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, self.link.now()).await?;
        let mut answers = Vec::with_capacity(settlements.len());
        for settlement in settlements {
            answers.push(step.settle(settlement).await?);
        }
        step.commit().await?;
        Ok(answers)
    }

    async fn requeue(&self, all: &[EntryId]) -> Result<u64> {
        let now = self.link.now();
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, now).await?;
        let ns = step.ns;
        let back = step.execute(REQUEUE, |query| query.bind(ns).bind(ids(all)).bind(now)).await?;
        if back > 0 {
            step.notify();
        }
        step.commit().await?;
        Ok(back)
    }

    async fn discard(&self, all: &[EntryId]) -> Result<u64> {
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, self.link.now()).await?;
        let ns = step.ns;
        let gone = step.execute(DISCARD, |query| query.bind(ns).bind(ids(all))).await?;
        step.commit().await?;
        Ok(gone)
    }

    async fn examine(&self) -> Result<Examination> {
        self.link.examine().await
    }

    async fn counts(&self) -> Result<JobCounts> {
        let rows = self.link.read(COUNTS, |query| query.bind(self.name.clone())).await?;
        counts(&rows).map_err(|error| self.link.failed(error))
    }

    async fn list(&self, state: JobState, cursor: Option<Bytes>, limit: usize) -> Result<JobPage> {
        let after = after(cursor.as_deref())?;
        let limit = limit.clamp(1, PAGE);
        let bind = |query: Statement| {
            query.bind(self.name.clone()).bind(after).bind(state_number(state)).bind(limit as i64 + 1)
        };
        let rows = self.link.read(LIST, bind).await?;
        listed(&rows, limit, &self.link.place.file)
    }

    async fn find(&self, id: &EntryId) -> Result<Option<FoundJob>> {
        let bind = |query: Statement| query.bind(self.name.clone()).bind(id.as_bytes().to_vec());
        let rows = self.link.read(FIND, bind).await?;
        rows.first().map(|row| found(row, &self.link.place.file)).transpose()
    }

    async fn incarnation(&self) -> Result<Incarnation> {
        let rows = self.link.read(INCARNATION, |query| query.bind(self.link.place.mark.clone())).await?;
        let incarnation = rows.first().map(|row| row.text(0)).transpose().map_err(|error| self.link.failed(error))?;
        incarnation.flatten().map(Incarnation::new).ok_or_else(|| unexpected("incarnation"))
    }

    async fn wait(&self, timeout: Duration) -> Result<()> {
        let began = Instant::now();
        let notifier = self.link.notifier(&self.name);
        // Enabled before the look, so that a job that is added in between wakes it.
        let mut notified = pin!(notifier.notified());
        notified.as_mut().enable();
        loop {
            // Only jobs that this queue has not looked at: a job that stays due since no worker wants it must not turn
            // the loop of the others into a busy one.
            let added = self.added().await?;
            if self.seen.fetch_max(added, Ordering::Relaxed) < added {
                return Ok(());
            }
            let left = timeout.saturating_sub(began.elapsed());
            if left.is_zero() || tokio::time::timeout(POLL.min(left), notified.as_mut()).await.is_ok() {
                return Ok(());
            }
        }
    }
}

impl Step<'_> {
    async fn enqueue(&mut self, job: &NewJob) -> Result<Enqueued> {
        let lane = lane_number(job.lane);
        let priority = i64::from(job.priority);
        let due = self.now + millis(job.delay);
        if self.ensure(&job.id, lane, priority, due).await? {
            return Ok(Enqueued::Queued);
        }
        let ns = self.ns;
        let id = job.id.as_bytes().to_vec();
        // No worker would ever find a job whose state or lane does not exist.
        let unreadable = self.execute(UNREADABLE, |query| query.bind(ns).bind(id.clone())).await? > 0;
        if unreadable && self.ensure(&job.id, lane, priority, due).await? {
            return Ok(Enqueued::Queued);
        }
        let row = self.row(STATE, |query| query.bind(ns).bind(id)).await?;
        let state = row.map_or(Ok(None), |row| row.int(0)).map_err(|error| self.failed(error))?;
        if !job.revive {
            return Ok(if state == Some(2) { Enqueued::DeadLetter } else { Enqueued::Merged });
        }
        self.need(&[(job.id, lane)], priority, due).await?;
        Ok(match state {
            Some(0) => Enqueued::Merged,
            Some(1) => Enqueued::Again,
            _ => Enqueued::Queued,
        })
    }

    async fn number(&mut self, sql: &'static str, lane: i64, priority: i64) -> Result<Option<i64>> {
        let ns = self.ns;
        let row = self.row(sql, |query| query.bind(ns).bind(lane).bind(priority)).await?;
        row.map_or(Ok(None), |row| row.int(0)).map_err(|error| self.failed(error))
    }

    /// From priority to priority, so that no job that waits for its time is passed on the way to one that is due.
    async fn reserve(&mut self, reserve: &Reserve) -> Result<Reservation> {
        let ns = self.ns;
        let now = self.now;
        let lane = lane_number(reserve.lane);
        let mut max = reserve.max.min(PAGE);
        self.execute(PUT_BACK, |query| query.bind(ns).bind(now)).await?;
        let mut jobs = Vec::new();
        let mut soonest = None::<i64>;
        let mut level = -1;
        if reserve.again {
            let bind = |query: Statement| query.bind(ns).bind(lane).bind(reserve.token.as_bytes().to_vec());
            for row in &self.rows(HELD, bind).await? {
                jobs.extend(self.take(reserve, row).await?);
                max = 0;
            }
        }
        while let Some(priority) = self.number(NEXT_PRIORITY, lane, level).await? {
            level = priority;
            if jobs.len() < max {
                let left = (max - jobs.len()) as i64;
                let bind = |query: Statement| query.bind(ns).bind(lane).bind(priority).bind(now).bind(left);
                let due = self.rows(DUE, bind).await?;
                for row in &due {
                    jobs.extend(self.take(reserve, row).await?);
                }
            }
            soonest = self.number(SOONEST, lane, priority).await?.into_iter().chain(soonest).min();
        }
        let next_due = soonest.map(|soonest| Duration::from_millis(count(soonest - now)));
        Ok(Reservation { jobs, next_due })
    }

    /// A job for its worker. A job whose id is damaged belongs to no entry, and is removed: its entry gets another one.
    async fn take(&mut self, reserve: &Reserve, row: &sqlx::sqlite::SqliteRow) -> Result<Option<Job>> {
        let cell = |place| row.int(place).map(|cell| few(cell.unwrap_or(0))).map_err(|error| self.failed(error));
        let bytes = row.bytes(0).map_err(|error| self.failed(error))?.unwrap_or_default();
        let Ok(id) = EntryId::from_slice(&bytes) else {
            damaged_jobs(1);
            let ns = self.ns;
            self.execute(DISCARD_UNREADABLE, |query| query.bind(ns).bind(bytes.clone())).await?;
            return Ok(None);
        };
        let job = Job { id, lane: reserve.lane, token: reserve.token, errors: cell(1)?, crashes: cell(2)? };
        let ns = self.ns;
        let until = self.now + millis(reserve.lease);
        let bind = |query: Statement| {
            query.bind(ns).bind(id.as_bytes().to_vec()).bind(job.token.as_bytes().to_vec()).bind(until)
        };
        self.execute(RESERVE, bind).await?;
        Ok(Some(job))
    }
}

impl fmt::Debug for SqliteQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteQueue").field("namespace", &self.name).field("link", &self.link).finish_non_exhaustive()
    }
}

//! The queue: jobs as rows, one transaction per step.

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
    NewJob, Reservation, Reserve, Result, Settled, Settlement, Token,
    protocol::{self, Request, StoredJob},
    support::limits::{LAPSED_JOBS, PAGE},
};
use tokio::time::Instant;

use super::{
    jobs::Jobs,
    link::{Link, Statement, name_of},
    step::Step,
};
use crate::{
    cells::{Cells, count, lane_number, millis},
    error::unexpected,
    job::{counts, damaged_jobs, found, listed, state_number},
    page::after,
};

/// As rows of a view: the id in the place of the kind.
macro_rules! select_jobs {
    ($rest:literal) => {
        concat!(
            "SELECT id, token, NULL, NULL, error, lane, priority, state, at, errors, crashes, again_at, again_lane, \
             again_priority FROM smache_jobs WHERE ns = $1 AND ",
            $rest
        )
    };
}

const LAPSED: &str = select_jobs!("state = 1 AND at <= $2 LIMIT $3");
const DUE: &str = select_jobs!("state = 0 AND lane = $2 AND priority = $3 AND at <= $4 ORDER BY at LIMIT $5");
const HELD: &str = select_jobs!("state = 1 AND lane = $2 AND token = $3 ORDER BY id");
const DISCARD_UNREADABLE: &str = "DELETE FROM smache_jobs WHERE ns = $1 AND id = $2";
const NEXT_PRIORITY: &str =
    "SELECT min(priority) FROM smache_jobs WHERE ns = $1 AND state = 0 AND lane = $2 AND priority > $3";
const SOONEST: &str = "SELECT min(at) FROM smache_jobs WHERE ns = $1 AND state = 0 AND lane = $2 AND priority = $3";
const EXTEND: &str = "UPDATE smache_jobs SET at = $4 WHERE ns = $1 AND id = $2 AND state = 1 AND token = $3";
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
        let answers = step.enqueue(jobs).await?;
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
        let answers = step.settle(settlements).await?;
        step.commit().await?;
        Ok(answers)
    }

    async fn requeue(&self, all: &[EntryId]) -> Result<u64> {
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, self.link.now()).await?;
        let now = step.time();
        let back = step.replace_jobs(all, |job| protocol::requeue(job, now).map(Some)).await?;
        step.commit().await?;
        Ok(back)
    }

    async fn discard(&self, all: &[EntryId]) -> Result<u64> {
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, self.link.now()).await?;
        let gone = step.replace_jobs(all, |job| protocol::discard(job).then_some(None)).await?;
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
    async fn enqueue(&mut self, new: &[NewJob]) -> Result<Vec<Enqueued>> {
        let now = self.time();
        let all: Vec<EntryId> = new.iter().map(|job| job.id).collect();
        let mut jobs = self.jobs(&all).await?;
        let mut answers = Vec::with_capacity(new.len());
        for new in new {
            let request = Request { due: now.after(new.delay), lane: new.lane, priority: new.priority };
            let plan = if new.revive { protocol::request } else { protocol::ensure };
            let requested = plan(jobs.get(&new.id), request);
            if requested.job.is_some() {
                jobs.put(new.id, requested.job);
            }
            answers.push(requested.outcome);
        }
        self.write_jobs(&mut jobs).await?;
        Ok(answers)
    }

    async fn settle(&mut self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let now = self.time();
        let all: Vec<EntryId> = settlements.iter().map(|settlement| settlement.id).collect();
        let mut jobs = self.jobs(&all).await?;
        let mut answers = Vec::with_capacity(settlements.len());
        for Settlement { id, token, end } in settlements {
            let settling = protocol::settle(jobs.get(id), *token, end, now);
            if settling.outcome != Settled::Lost {
                jobs.put(*id, settling.job);
            }
            answers.push(settling.outcome);
        }
        self.write_jobs(&mut jobs).await?;
        Ok(answers)
    }

    /// Replaces or removes those jobs for which there is a plan, and counts them.
    async fn replace_jobs(
        &mut self,
        all: &[EntryId],
        plan: impl Fn(&StoredJob) -> Option<Option<StoredJob>>,
    ) -> Result<u64> {
        let mut jobs = self.jobs(all).await?;
        let mut replaced = 0;
        for id in all {
            let Some(job) = jobs.get(id).and_then(&plan) else { continue };
            jobs.put(*id, job);
            replaced += 1;
        }
        self.write_jobs(&mut jobs).await?;
        Ok(replaced)
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
        self.put_back_lapsed().await?;
        let mut taken = Jobs::default();
        let mut jobs = Vec::new();
        let mut soonest = None::<i64>;
        let mut level = -1;
        if reserve.again {
            let bind = |query: Statement| query.bind(ns).bind(lane).bind(reserve.token.as_bytes().to_vec());
            for id in self.take(HELD, bind, &mut taken).await? {
                jobs.extend(self.reserved(reserve, &mut taken, id));
                max = 0;
            }
        }
        while let Some(priority) = self.number(NEXT_PRIORITY, lane, level).await? {
            level = priority;
            if jobs.len() < max {
                let left = (max - jobs.len()) as i64;
                let bind = |query: Statement| query.bind(ns).bind(lane).bind(priority).bind(now).bind(left);
                for id in self.take(DUE, bind, &mut taken).await? {
                    jobs.extend(self.reserved(reserve, &mut taken, id));
                }
                // Before the look for the soonest one, which is another one.
                self.write_jobs(&mut taken).await?;
            }
            soonest = self.number(SOONEST, lane, priority).await?.into_iter().chain(soonest).min();
        }
        self.write_jobs(&mut taken).await?;
        let next_due = soonest.map(|soonest| Duration::from_millis(count(soonest - now)));
        Ok(Reservation { jobs, next_due })
    }

    fn reserved(&self, reserve: &Reserve, jobs: &mut Jobs, id: EntryId) -> Option<Job> {
        let until = self.time().after(reserve.lease);
        let (stored, job) = protocol::reserve(id, jobs.get(&id)?, reserve.token, until);
        jobs.put(id, Some(stored));
        Some(job)
    }

    /// Returns the jobs of vanished workers to the queue.
    async fn put_back_lapsed(&mut self) -> Result<()> {
        let (ns, now) = (self.ns, self.now);
        let mut jobs = Jobs::default();
        let most = LAPSED_JOBS as i64;
        for id in self.take(LAPSED, |query| query.bind(ns).bind(now).bind(most), &mut jobs).await? {
            if let Some(queued) = jobs.get(&id).and_then(|job| protocol::put_back(job, self.time())) {
                jobs.put(id, Some(queued));
            }
        }
        self.write_jobs(&mut jobs).await
    }

    /// Reads jobs, and returns whose they are. A job whose id is damaged belongs to no entry, and is removed: its entry
    /// gets another one.
    async fn take(
        &mut self,
        sql: &'static str,
        bind: impl FnOnce(Statement) -> Statement + Send,
        jobs: &mut Jobs,
    ) -> Result<Vec<EntryId>> {
        let mut taken = Vec::new();
        for row in &self.rows(sql, bind).await? {
            let bytes = row.bytes(0).map_err(|error| self.failed(error))?.unwrap_or_default();
            if let Ok(id) = EntryId::from_slice(&bytes) {
                jobs.read(id, row).map_err(|error| self.failed(error))?;
                taken.push(id);
            } else {
                damaged_jobs(1);
                let ns = self.ns;
                self.execute(DISCARD_UNREADABLE, |query| query.bind(ns).bind(bytes)).await?;
            }
        }
        Ok(taken)
    }
}

impl fmt::Debug for SqliteQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteQueue").field("namespace", &self.name).field("link", &self.link).finish_non_exhaustive()
    }
}

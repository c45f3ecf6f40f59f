//! Requests for jobs, and their delivery.

use std::time::Duration;

use bytes::Bytes;
use smache_core::{
    Enqueued, EntryId, FoundJob, JobPage, JobState, Lane, ListedJob, NewJob, Reservation, Reserve, Result, Timestamp,
    Token,
    protocol::{self, JobStage, Request, StoredJob},
    support::limits::LAPSED_JOBS,
};

use super::job::{is_at, lane_byte, state_byte};
use crate::{codec::number, keys::Role, step::Step};

impl Step<'_> {
    pub(super) async fn enqueue(&mut self, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
        self.prefetch_kept(jobs.iter().map(|job| job.id)).await?;
        let mut answers = Vec::with_capacity(jobs.len());
        for new in jobs {
            let request = Request { due: self.now.after(new.delay), lane: new.lane, priority: new.priority };
            let plan = if new.revive { protocol::request } else { protocol::ensure };
            let present = self.job(&new.id).await?;
            let requested = plan(present.as_ref(), request);
            if let Some(job) = &requested.job {
                self.put_job(&new.id, present.as_ref(), Some(job));
            }
            answers.push(requested.outcome);
        }
        Ok(answers)
    }

    pub(super) async fn reserve(&mut self, reserve: &Reserve) -> Result<Reservation> {
        self.put_back_lapsed().await?;
        let held = if reserve.again { self.held(reserve).await? } else { Vec::new() };
        let max = if held.is_empty() { reserve.max } else { 0 };
        let (due, later) = self.due(reserve.lane, max).await?;
        let until = self.now.after(reserve.lease);
        self.prefetch_kept(due.iter().filter_map(|key| self.area.keys.id_of(key))).await?;
        let mut jobs = Vec::with_capacity(held.len() + due.len().min(max));
        let mut missed = false;
        for key in held.iter().chain(&due) {
            if jobs.len() >= held.len() + max {
                break;
            }
            let Some((id, old)) = self.job_at(key).await? else {
                missed = true;
                continue;
            };
            let (reserved, job) = protocol::reserve(id, &old, reserve.token, until);
            self.put_job(&id, Some(&old), Some(&reserved));
            jobs.push(job);
        }
        // A job that replaced a damaged one is due, and not among the listed ones.
        let next_due = if due.len() > max || missed { Some(Duration::ZERO) } else { later };
        Ok(Reservation { jobs, next_due })
    }

    /// The job in a place of an index. Removes the place that a damaged job has left.
    async fn job_at(&mut self, key: &Bytes) -> Result<Option<(EntryId, StoredJob)>> {
        let Some(id) = self.listed(key) else { return Ok(None) };
        let job = self.job(&id).await?.filter(|kept| is_at(kept, &self.area.keys, &id, key));
        if job.is_none() {
            self.delete(key.clone());
        }
        Ok(job.map(|kept| (id, kept)))
    }

    /// The places of the jobs that an earlier request with this token has reserved.
    async fn held(&mut self, reserve: &Reserve) -> Result<Vec<Bytes>> {
        let range = self.keys().range(Role::JobLease, &[]);
        let mut held = Vec::new();
        for (key, _) in self.scan(&range, usize::MAX).await? {
            let job = self.job_at(&key).await?.filter(|(_, kept)| kept.lane == reserve.lane);
            if job.is_some_and(
                |(_, kept)| matches!(kept.stage, JobStage::Running { token, .. } if token == reserve.token),
            ) {
                held.push(key);
            }
        }
        Ok(held)
    }

    /// The places of the most urgent due jobs of a lane, one more than requested, and when the next one becomes due.
    /// The index is by priority first, so this walks from priority to priority.
    async fn due(&mut self, lane: Lane, max: usize) -> Result<(Vec<Bytes>, Option<Duration>)> {
        let keys = self.keys();
        let mut due = Vec::new();
        let mut later = None;
        let mut from = 0;
        loop {
            let mut rest = keys.range(Role::JobDue, &[&[lane_byte(lane)]]);
            rest.from = keys.of(Role::JobDue, &[&[lane_byte(lane), from]]);
            let first = self.scan(&rest, 1).await?;
            let Some(&priority) = first.first().and_then(|(key, _)| keys.rest(key).get(1)) else { break };
            let parts: &[&[u8]] = &[&[lane_byte(lane), priority]];
            let room = max.saturating_add(1) - due.len();
            if room > 0 {
                let now = keys.up_to(Role::JobDue, parts, self.now.as_millis());
                due.extend(self.scan(&now, room).await?.into_iter().map(|(key, _)| key));
            }
            let mut waiting = keys.range(Role::JobDue, parts);
            waiting.from = keys.up_to(Role::JobDue, parts, self.now.as_millis()).to;
            if let Some((key, _)) = self.scan(&waiting, 1).await?.first() {
                let due = keys.rest(key).get(2..).and_then(number).unwrap_or_default();
                let at = Timestamp::from_millis(due).since(self.now);
                later = Some(later.map_or(at, |later: Duration| later.min(at)));
            }
            match priority.checked_add(1) {
                Some(next) => from = next,
                None => break,
            }
        }
        Ok((due, later))
    }

    /// Returns the jobs of vanished workers to the queue.
    async fn put_back_lapsed(&mut self) -> Result<()> {
        let range = self.keys().up_to(Role::JobLease, &[], self.now.as_millis());
        for (key, _) in self.scan(&range, LAPSED_JOBS.min(self.area.limits.jobs().div_ceil(2))).await? {
            let Some((id, old)) = self.job_at(&key).await? else { continue };
            let queued = protocol::put_back(&old, self.now);
            if queued.is_some() {
                self.put_job(&id, Some(&old), queued.as_ref());
            }
        }
        Ok(())
    }

    pub(super) async fn extend_jobs(&mut self, jobs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
        self.prefetch_kept(jobs.iter().map(|(id, _)| *id)).await?;
        let to = self.now.after(lease);
        let mut held = Vec::with_capacity(jobs.len());
        for (id, token) in jobs {
            let old = self.job(id).await?;
            let extended = old.as_ref().and_then(|job| protocol::extend_job(job, *token, to));
            if extended.is_some() {
                self.put_job(id, old.as_ref(), extended.as_ref());
            }
            held.push(extended.is_some());
        }
        Ok(held)
    }

    /// The time until the next job becomes due or the next reservation lapses.
    pub(super) async fn next_event(&mut self) -> Result<Option<Duration>> {
        let mut next = None;
        for lane in Lane::ALL {
            let (_, later) = self.due(lane, 0).await?;
            next = next.into_iter().chain(later).min();
        }
        let mut leases = self.keys().range(Role::JobLease, &[]);
        leases.from = self.keys().up_to(Role::JobLease, &[], self.now.as_millis()).to;
        for (key, _) in self.scan(&leases, 1).await? {
            let until = number(self.keys().rest(&key)).unwrap_or_default();
            next = next.into_iter().chain([Timestamp::from_millis(until).since(self.now)]).min();
        }
        Ok(next)
    }

    /// By entry: a job that stays in its state keeps its place, even if its time changes.
    pub(super) async fn list(&mut self, state: JobState, cursor: Option<&[u8]>, limit: usize) -> Result<JobPage> {
        let limit = limit.max(1);
        let range = self.keys().range(Role::JobState, &[&[state_byte(state)]]).after(cursor, EntryId::LEN)?;
        let found = self.scan(&range, limit).await?;
        self.prefetch_kept(found.iter().filter_map(|(key, _)| self.area.keys.id_of(key))).await?;
        let mut jobs = Vec::with_capacity(found.len());
        for (key, _) in &found {
            let Some(id) = self.listed(key) else { continue };
            if let Some(kept) = self.job(&id).await?.filter(|kept| is_at(kept, &self.area.keys, &id, key)) {
                jobs.push(ListedJob { id, at: kept.state().1, error: kept.error });
            }
        }
        Ok(JobPage { jobs, next: self.cursor(&found, limit, 1) })
    }

    pub(super) async fn find(&mut self, id: &EntryId) -> Result<Option<FoundJob>> {
        let Some(kept) = self.job(id).await? else { return Ok(None) };
        let (state, at) = kept.state();
        let mut found = FoundJob::new(kept.lane, state, at);
        (found.errors, found.crashes, found.error) = (kept.errors, kept.crashes, kept.error);
        Ok(Some(found))
    }
}

//! The queue.

use std::time::Duration;

use smache_core::{
    Enqueued, EntryId, FoundJob, Job, JobCounts, Lane, NewJob, Reservation, Reserve, Settled, Settlement, Timestamp,
    Token,
    protocol::{self, JobStage, Request},
};

use super::{Moment, Partition};

impl Partition {
    /// **J**: adds jobs.
    pub fn enqueue(&mut self, at: Moment<'_>, jobs: &[NewJob]) -> Vec<Enqueued> {
        let enqueue = |new: &NewJob| {
            let request = Request { due: at.now.after(new.delay), lane: new.lane, priority: new.priority };
            let plan = if new.revive { protocol::request } else { protocol::ensure };
            let requested = plan(self.jobs.get(&new.id), request);
            self.jobs.extend(requested.job.map(|job| (new.id, job)));
            requested.outcome
        };
        jobs.iter().map(enqueue).collect()
    }

    /// **V**: takes due jobs: the most urgent priority first, then the earliest due time, then by id. A backend may
    /// choose another one of those that differ by their id alone: [`take`](Self::take) follows it.
    pub fn reserve(&mut self, at: Moment<'_>, reserve: &Reserve) -> Reservation {
        self.put_back_lapsed(at);
        let mut ids = if reserve.again { self.held(reserve) } else { Vec::new() };
        if ids.is_empty() {
            ids = self.due(at, reserve.lane).into_iter().map(|(.., id)| id).take(reserve.max).collect();
        }
        let until = at.now.after(reserve.lease);
        let jobs = ids.iter().filter_map(|id| self.take(id, reserve.token, until)).collect();
        Reservation { jobs, next_due: self.next_due(at, reserve.lane) }
    }

    /// **V**: returns the jobs of vanished workers to the queue.
    pub fn put_back_lapsed(&mut self, at: Moment<'_>) {
        for job in self.jobs.values_mut() {
            if let Some(queued) = protocol::put_back(job, at.now) {
                *job = queued;
            }
        }
    }

    /// **V**: gives a job to a worker.
    pub fn take(&mut self, id: &EntryId, token: Token, until: Timestamp) -> Option<Job> {
        let present = self.jobs.get_mut(id)?;
        let (stored, job) = protocol::reserve(*id, present, token, until);
        *present = stored;
        Some(job)
    }

    /// The due jobs of a lane, the next one first, each with its priority and since when it is due.
    #[must_use]
    pub fn due(&self, at: Moment<'_>, lane: Lane) -> Vec<(u8, Timestamp, EntryId)> {
        let mut due: Vec<_> = self.queued(lane).filter(|(_, due, _)| *due <= at.now).collect();
        due.sort();
        due
    }

    /// When the next job of a lane becomes due.
    #[must_use]
    pub fn next_due(&self, at: Moment<'_>, lane: Lane) -> Option<Duration> {
        self.queued(lane).map(|(_, due, _)| due.since(at.now)).min()
    }

    fn queued(&self, lane: Lane) -> impl Iterator<Item = (u8, Timestamp, EntryId)> {
        self.jobs.iter().filter(move |(_, job)| job.lane == lane).filter_map(|(id, job)| match job.stage {
            JobStage::Queued { due } => Some((job.priority, due, *id)),
            _ => None,
        })
    }

    /// The jobs that an earlier request with this token has reserved.
    fn held(&self, reserve: &Reserve) -> Vec<EntryId> {
        let held = self.jobs.iter().filter(|(_, job)| {
            job.lane == reserve.lane && matches!(job.stage, JobStage::Running { token, .. } if token == reserve.token)
        });
        held.map(|(id, _)| *id).collect()
    }

    /// **V**: extends reservations. Says for each whether the token holds it.
    pub fn extend_jobs(&mut self, at: Moment<'_>, jobs: &[(EntryId, Token)], lease: Duration) -> Vec<bool> {
        let until = at.now.after(lease);
        let extend = |(id, token): &(EntryId, Token)| {
            let extended = self.jobs.get(id).and_then(|job| protocol::extend_job(job, *token, until));
            let held = extended.is_some();
            self.jobs.extend(extended.map(|job| (*id, job)));
            held
        };
        jobs.iter().map(extend).collect()
    }

    /// **S**: ends a reservation.
    pub fn settle(&mut self, at: Moment<'_>, settlement: &Settlement) -> Settled {
        let Settlement { id, token, end } = settlement;
        let settling = protocol::settle(self.jobs.get(id), *token, end, at.now);
        if settling.outcome != Settled::Lost {
            match settling.job {
                Some(job) => drop(self.jobs.insert(*id, job)),
                None => drop(self.jobs.remove(id)),
            }
        }
        settling.outcome
    }

    /// **J**: puts a dead letter back. Says whether it was one.
    pub fn requeue(&mut self, at: Moment<'_>, id: &EntryId) -> bool {
        let again = self.jobs.get(id).and_then(|job| protocol::requeue(job, at.now));
        let requeued = again.is_some();
        self.jobs.extend(again.map(|job| (*id, job)));
        requeued
    }

    /// **J**: forgets a job that is not running. Says whether it did.
    pub fn discard(&mut self, id: &EntryId) -> bool {
        let discarded = self.jobs.get(id).is_some_and(protocol::discard);
        if discarded {
            self.jobs.remove(id);
        }
        discarded
    }

    /// How many jobs there are in each state.
    #[must_use]
    pub fn counts(&self) -> JobCounts {
        let mut counts = JobCounts::default();
        for job in self.jobs.values() {
            match (&job.stage, job.lane) {
                (JobStage::Queued { .. }, Lane::Propagation) => counts.propagation += 1,
                (JobStage::Queued { .. }, Lane::Recompute) => counts.recompute += 1,
                (JobStage::Running { .. }, _) => counts.running += 1,
                (JobStage::DeadLetter { .. }, _) => counts.dead_letters += 1,
            }
        }
        counts
    }

    /// The job of an entry.
    #[must_use]
    pub fn find(&self, id: &EntryId) -> Option<FoundJob> {
        let job = self.jobs.get(id)?;
        let (state, at) = job.state();
        let mut found = FoundJob::new(job.lane, state, at);
        (found.errors, found.crashes, found.error) = (job.errors, job.crashes, job.error.clone());
        Some(found)
    }
}

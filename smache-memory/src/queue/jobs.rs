//! The jobs of a namespace.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::Duration,
};

use smache_core::{
    Enqueued, EntryId, FoundJob, Job, JobCounts, JobPage, JobState, Lane, ListedJob, NewJob, Page, Reservation,
    Reserve, Result, Timestamp, Token,
    protocol::{self, JobStage, JobWrite, Request, StoredJob},
};

/// How many jobs of other states one page of a listing may skip.
const PASSED_JOBS: usize = 10_000;

/// A job, with its place among those that became due at the same time.
pub(super) struct Kept {
    pub(super) job: StoredJob,
    place: u64,
}

/// All jobs, with indexes that find the next one without a walk.
#[derive(Default)]
pub(crate) struct Jobs {
    pub(super) all: BTreeMap<EntryId, Kept>,
    lanes: [LaneIndex; 2],
    leases: BTreeSet<(Timestamp, EntryId)>,
    dead_letters: u64,
    added: u64,
}

/// The queued jobs of a lane. A read of the lane moves due ones to `ready`.
#[derive(Default)]
struct LaneIndex {
    waiting: BTreeSet<(Timestamp, EntryId)>,
    ready: BTreeSet<(u8, Timestamp, u64, EntryId)>,
}

impl Jobs {
    /// How many jobs were ever added.
    pub(crate) fn added(&self) -> u64 {
        self.added
    }

    pub(crate) fn enqueue(&mut self, new: &NewJob, now: Timestamp) -> Enqueued {
        let request = Request { due: now.after(new.delay), lane: new.lane, priority: new.priority };
        let plan = if new.revive { protocol::request } else { protocol::ensure };
        let requested = plan(self.job(&new.id), request);
        if let Some(job) = requested.job {
            self.put(new.id, Some(job));
        }
        requested.outcome
    }

    /// Does to the job of an entry what a step on the entry says.
    pub(crate) fn write(&mut self, id: EntryId, write: JobWrite, now: Timestamp) {
        let present = self.job(&id);
        let job = protocol::job_write(present, write, now);
        if job.as_ref() != present {
            self.put(id, job);
        }
    }

    pub(super) fn job(&self, id: &EntryId) -> Option<&StoredJob> {
        self.all.get(id).map(|kept| &kept.job)
    }

    /// Replaces a job, with its place in the index of its state; `None` removes it.
    pub(super) fn put(&mut self, id: EntryId, job: Option<StoredJob>) {
        if let Some(Kept { job, place }) = self.all.remove(&id) {
            match job.stage {
                JobStage::Queued { due } => {
                    let lane = &mut self.lanes[job.lane as usize];
                    if !lane.waiting.remove(&(due, id)) {
                        lane.ready.remove(&(job.priority, due, place, id));
                    }
                }
                JobStage::Running { until, .. } => {
                    self.leases.remove(&(until, id));
                }
                JobStage::DeadLetter { .. } => self.dead_letters -= 1,
            }
        }
        let Some(job) = job else { return };
        match job.stage {
            JobStage::Queued { due } => {
                self.added += 1;
                self.lanes[job.lane as usize].waiting.insert((due, id));
            }
            JobStage::Running { until, .. } => {
                self.leases.insert((until, id));
            }
            JobStage::DeadLetter { .. } => self.dead_letters += 1,
        }
        self.all.insert(id, Kept { job, place: self.added });
    }

    pub(crate) fn reserve(&mut self, reserve: &Reserve, now: Timestamp) -> Reservation {
        self.put_back_lapsed(now);
        self.ripen(reserve.lane, now);
        let until = now.after(reserve.lease);
        let mut jobs = if reserve.again { self.held(reserve, until) } else { Vec::new() };
        let max = if jobs.is_empty() { reserve.max } else { 0 };
        while jobs.len() < max {
            let Some((.., id)) = self.lanes[reserve.lane as usize].ready.first().copied() else { break };
            jobs.push(self.reserve_one(id, reserve.token, until));
        }
        let LaneIndex { ready, waiting } = &self.lanes[reserve.lane as usize];
        let next_due = match ready.first() {
            Some(_) => Some(Duration::ZERO),
            None => waiting.first().map(|(due, _)| due.since(now)),
        };
        Reservation { jobs, next_due }
    }

    fn reserve_one(&mut self, id: EntryId, token: Token, until: Timestamp) -> Job {
        let (stored, job) = protocol::reserve(id, &self.all[&id].job, token, until);
        self.put(id, Some(stored));
        job
    }

    /// The jobs that an earlier request with this token has reserved, with new leases.
    fn held(&mut self, reserve: &Reserve, until: Timestamp) -> Vec<Job> {
        let is_held = |id: &EntryId| {
            let job = &self.all[id].job;
            job.lane == reserve.lane && matches!(job.stage, JobStage::Running { token, .. } if token == reserve.token)
        };
        let held: Vec<EntryId> = self.leases.iter().map(|(_, id)| *id).filter(is_held).collect();
        held.into_iter().map(|id| self.reserve_one(id, reserve.token, until)).collect()
    }

    /// Returns the jobs of vanished workers to the queue.
    fn put_back_lapsed(&mut self, now: Timestamp) {
        while let Some((_, id)) = self.leases.first().copied() {
            let Some(queued) = protocol::put_back(&self.all[&id].job, now) else { break };
            self.put(id, Some(queued));
        }
    }

    fn ripen(&mut self, lane: Lane, now: Timestamp) {
        let index = &mut self.lanes[lane as usize];
        while let Some((due, id)) = index.waiting.first().copied() {
            if due > now {
                break;
            }
            index.waiting.pop_first();
            if let Some(Kept { job, place }) = self.all.get(&id) {
                index.ready.insert((job.priority, due, *place, id));
            }
        }
    }

    pub(crate) fn extend(&mut self, id: &EntryId, token: Token, to: Timestamp) -> bool {
        let extended = self.job(id).and_then(|job| protocol::extend_job(job, token, to));
        let held = extended.is_some();
        if held {
            self.put(*id, extended);
        }
        held
    }

    /// The time until the next job becomes due or the next reservation lapses.
    pub(crate) fn next_event(&self, now: Timestamp) -> Option<Duration> {
        let later = |set: &BTreeSet<(Timestamp, EntryId)>| {
            let after = Bound::Excluded((now, EntryId::from_bytes([u8::MAX; EntryId::LEN])));
            set.range((after, Bound::Unbounded)).next().map(|(at, _)| at.since(now))
        };
        self.lanes.iter().map(|lane| &lane.waiting).chain([&self.leases]).filter_map(later).min()
    }

    pub(crate) fn counts(&self) -> JobCounts {
        let queued = |lane: Lane| {
            let LaneIndex { waiting, ready } = &self.lanes[lane as usize];
            (waiting.len() + ready.len()) as u64
        };
        JobCounts {
            propagation: queued(Lane::Propagation),
            recompute: queued(Lane::Recompute),
            running: self.leases.len() as u64,
            dead_letters: self.dead_letters,
        }
    }

    pub(crate) fn list(&self, state: JobState, cursor: Option<&[u8]>, limit: usize) -> Result<JobPage> {
        let after = cursor.map(Page::id_in).transpose()?.map_or(Bound::Unbounded, Bound::Excluded);
        let mut walk = self.all.range((after, Bound::Unbounded));
        let mut jobs = Vec::new();
        let mut last = None;
        for (id, kept) in walk.by_ref().take(limit.saturating_add(PASSED_JOBS)) {
            last = Some(id);
            let (its, at) = kept.job.state();
            if its != state {
                continue;
            }
            jobs.push(ListedJob { id: *id, at, error: kept.job.error.clone() });
            if jobs.len() >= limit.max(1) {
                break;
            }
        }
        let next = if walk.next().is_some() { last.map(|id| id.as_bytes().to_vec().into()) } else { None };
        Ok(JobPage { jobs, next })
    }

    pub(crate) fn find(&self, id: &EntryId) -> Option<FoundJob> {
        let job = self.job(id)?;
        let (state, at) = job.state();
        let mut found = FoundJob::new(job.lane, state, at);
        (found.errors, found.crashes, found.error) = (job.errors, job.crashes, job.error.clone());
        Some(found)
    }
}

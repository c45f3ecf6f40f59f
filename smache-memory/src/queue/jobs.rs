//! The jobs of a namespace.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::Duration,
};

use smache_core::{
    Enqueued, EntryId, FoundJob, Job, JobCounts, JobPage, JobState, Lane, ListedJob, NewJob, Page, Reservation,
    Reserve, Result, Timestamp, Token, support::limits::USUAL_PRIORITY,
};

/// How many jobs of other states one page of a listing may skip.
const PASSED_JOBS: usize = 10_000;

/// A job that is queued, running or a dead letter; a job that is done is removed.
pub(super) struct StoredJob {
    pub(super) lane: Lane,
    pub(super) priority: u8,
    pub(super) errors: u32,
    pub(super) crashes: u32,
    pub(super) error: Option<String>,
    pub(super) state: State,
}

pub(super) enum State {
    Queued { due: Timestamp, place: u64 },
    Running { token: Token, until: Timestamp, again: Option<Again> },
    DeadLetter { at: Timestamp },
}

impl State {
    /// The name of the state, and when the job is due, its lease ends or it became a dead letter.
    fn named(&self) -> (JobState, Timestamp) {
        match self {
            Self::Queued { due, .. } => (JobState::Queued, *due),
            Self::Running { until, .. } => (JobState::Running, *until),
            Self::DeadLetter { at } => (JobState::DeadLetter, *at),
        }
    }
}

/// A request during the job's run.
#[derive(Clone, Copy)]
pub(super) struct Again {
    pub(super) due: Timestamp,
    pub(super) lane: Lane,
    pub(super) priority: u8,
}

/// All jobs, with indexes that find the next one without a walk.
#[derive(Default)]
pub(crate) struct Jobs {
    pub(super) all: BTreeMap<EntryId, StoredJob>,
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
        let request = Again { due: now.after(new.delay), lane: new.lane, priority: new.priority };
        if new.revive { self.request(new.id, request) } else { self.ensure(new.id, request) }
    }

    /// A change needs the entry to be computed.
    pub(crate) fn need(&mut self, id: EntryId, lane: Lane, due: Timestamp) {
        self.request(id, Again { due, lane, priority: USUAL_PRIORITY });
    }

    /// A run of a stale entry ended without a value. No data changed: the worker of the job knows better whether and
    /// when to try again.
    pub(crate) fn need_after_run(&mut self, id: EntryId, lane: Lane, due: Timestamp) {
        self.ensure(id, Again { due, lane, priority: USUAL_PRIORITY });
    }

    /// Adds a job where there is none in any state.
    fn ensure(&mut self, id: EntryId, request: Again) -> Enqueued {
        match self.all.get(&id).map(|kept| &kept.state) {
            None => self.request(id, request),
            Some(State::Queued { .. } | State::Running { .. }) => Enqueued::Merged,
            Some(State::DeadLetter { .. }) => Enqueued::DeadLetter,
        }
    }

    fn request(&mut self, id: EntryId, request: Again) -> Enqueued {
        let Again { due, lane, priority } = request;
        let fresh =
            StoredJob { lane, priority, errors: 0, crashes: 0, error: None, state: State::Queued { due, place: 0 } };
        let Some(kept) = self.all.get_mut(&id) else {
            self.insert(id, fresh);
            return Enqueued::Queued;
        };
        match &mut kept.state {
            State::Queued { due: before, .. } => {
                let due = due.min(*before);
                let mut kept = self.take(&id).expect("it was found above, under the same lock");
                kept.lane = kept.lane.min(lane);
                kept.priority = kept.priority.min(priority);
                kept.state = State::Queued { due, place: 0 };
                self.insert(id, kept);
                Enqueued::Merged
            }
            State::Running { again, .. } => {
                *again = Some(again.map_or(request, |before| Again {
                    due: before.due.min(due),
                    lane: before.lane.min(lane),
                    priority: before.priority.min(priority),
                }));
                Enqueued::Again
            }
            State::DeadLetter { .. } => {
                self.take(&id);
                self.insert(id, fresh);
                Enqueued::Queued
            }
        }
    }

    /// Adds a job, with its place in the index of its state.
    pub(super) fn insert(&mut self, id: EntryId, mut kept: StoredJob) {
        match &mut kept.state {
            State::Queued { due, place } => {
                self.added += 1;
                *place = self.added;
                self.lanes[kept.lane as usize].waiting.insert((*due, id));
            }
            State::Running { until, .. } => {
                self.leases.insert((*until, id));
            }
            State::DeadLetter { .. } => self.dead_letters += 1,
        }
        self.all.insert(id, kept);
    }

    /// Removes a job, with its place in the index of its state.
    pub(super) fn take(&mut self, id: &EntryId) -> Option<StoredJob> {
        let kept = self.all.remove(id)?;
        match &kept.state {
            State::Queued { due, place } => {
                let lane = &mut self.lanes[kept.lane as usize];
                if !lane.waiting.remove(&(*due, *id)) {
                    lane.ready.remove(&(kept.priority, *due, *place, *id));
                }
            }
            State::Running { until, .. } => {
                self.leases.remove(&(*until, *id));
            }
            State::DeadLetter { .. } => self.dead_letters -= 1,
        }
        Some(kept)
    }

    pub(crate) fn reserve(&mut self, reserve: &Reserve, now: Timestamp) -> Reservation {
        self.put_back_lapsed(now);
        self.ripen(reserve.lane, now);
        let until = now.after(reserve.lease);
        let mut jobs = if reserve.again { self.held(reserve, until) } else { Vec::new() };
        let max = if jobs.is_empty() { reserve.max } else { 0 };
        while jobs.len() < max {
            let Some((.., id)) = self.lanes[reserve.lane as usize].ready.first().copied() else { break };
            let mut kept = self.take(&id).expect("every ready job is kept");
            let token = reserve.token;
            jobs.push(Job { id, lane: kept.lane, token, errors: kept.errors, crashes: kept.crashes });
            kept.state = State::Running { token, until, again: None };
            self.insert(id, kept);
        }
        let LaneIndex { ready, waiting } = &self.lanes[reserve.lane as usize];
        let next_due = match ready.first() {
            Some(_) => Some(Duration::ZERO),
            None => waiting.first().map(|(due, _)| due.since(now)),
        };
        Reservation { jobs, next_due }
    }

    /// The jobs that an earlier request with this token has reserved, with new leases.
    fn held(&mut self, reserve: &Reserve, until: Timestamp) -> Vec<Job> {
        let mut held = Vec::new();
        for (_, id) in &self.leases {
            let kept = &self.all[id];
            if kept.lane == reserve.lane && matches!(kept.state, State::Running { token, .. } if token == reserve.token)
            {
                held.push(Job {
                    id: *id,
                    lane: kept.lane,
                    token: reserve.token,
                    errors: kept.errors,
                    crashes: kept.crashes,
                });
            }
        }
        for job in &held {
            self.extend(&job.id, job.token, until);
        }
        held
    }

    /// Returns the jobs of vanished workers to the queue.
    fn put_back_lapsed(&mut self, now: Timestamp) {
        while let Some((until, id)) = self.leases.first().copied() {
            if until > now {
                break;
            }
            let mut kept = self.take(&id).expect("every lease is of a kept job");
            kept.crashes = kept.crashes.saturating_add(1);
            if let State::Running { again: Some(again), .. } = kept.state {
                kept.lane = kept.lane.min(again.lane);
                kept.priority = kept.priority.min(again.priority);
            }
            kept.state = State::Queued { due: now, place: 0 };
            self.insert(id, kept);
        }
    }

    fn ripen(&mut self, lane: Lane, now: Timestamp) {
        let index = &mut self.lanes[lane as usize];
        while let Some((due, id)) = index.waiting.first().copied() {
            if due > now {
                break;
            }
            index.waiting.pop_first();
            if let Some(StoredJob { priority, state: State::Queued { place, .. }, .. }) = self.all.get(&id) {
                index.ready.insert((*priority, due, *place, id));
            }
        }
    }

    pub(crate) fn extend(&mut self, id: &EntryId, token: Token, to: Timestamp) -> bool {
        match self.all.get_mut(id).map(|kept| &mut kept.state) {
            Some(State::Running { token: held, until, .. }) if *held == token => {
                self.leases.remove(&(*until, *id));
                *until = to;
                self.leases.insert((to, *id));
                true
            }
            _ => false,
        }
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
            let (its, at) = kept.state.named();
            if its != state {
                continue;
            }
            jobs.push(ListedJob { id: *id, at, error: kept.error.clone() });
            if jobs.len() >= limit.max(1) {
                break;
            }
        }
        let next = if walk.next().is_some() { last.map(|id| id.as_bytes().to_vec().into()) } else { None };
        Ok(JobPage { jobs, next })
    }

    pub(crate) fn find(&self, id: &EntryId) -> Option<FoundJob> {
        let kept = self.all.get(id)?;
        let (state, at) = kept.state.named();
        let mut found = FoundJob::new(kept.lane, state, at);
        (found.errors, found.crashes, found.error) = (kept.errors, kept.crashes, kept.error.clone());
        Some(found)
    }
}

//! The expected side: what the protocol allows.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use smache_core::{
    Dependency, Epoch, Invalidation, InvalidationAttempt, JobState, ListedJob, Programs, RegisteredProgram,
    Reservation, Reserve, Timestamp, Token, Validity,
    protocol::{ChangeLog, JobStage},
};

use super::{
    call::Call,
    facts::{Answer, Changed, Seen},
    subject::{LOOKS_BACK, refusal},
    world,
};
use crate::reference::{Moment, Opened, Partition, Walk};

/// How many entries a piece of maintenance and a page may have: more than there are.
pub(super) const LIMIT: usize = 100;

/// A state that the tested side may be in, by all that it has shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Candidate {
    pub(super) partition: Partition,
    programs: BTreeMap<Token, RegisteredProgram>,
    /// The revision of every change, forgotten ones included.
    changed: BTreeMap<Dependency, u64>,
    /// The invalidation that was interrupted.
    pub(super) walk: Option<Stage>,
    epochs: u64,
    /// By how much times may differ.
    slack: Duration,
}

/// How far an interrupted invalidation has come.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stage {
    Waiting(Invalidation, InvalidationAttempt),
    Walking(Box<Walk>),
    Over(Box<Ended>),
}

/// The answer to an interrupted invalidation.
#[derive(Debug, Clone)]
pub(super) struct Ended(pub(super) Answer);

impl PartialEq for Ended {
    fn eq(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

impl Candidate {
    pub(super) fn new(partition: Partition, slack: Duration) -> Self {
        Self { partition, programs: BTreeMap::new(), changed: BTreeMap::new(), walk: None, epochs: 0, slack }
    }

    /// Does it. Where the protocol leaves a choice, the answer of the tested side says which.
    ///
    /// A page is the most dependants that a change marks in one step.
    pub(super) fn call(&mut self, at: Moment<'_>, call: &Call, hint: &Answer, page: usize) -> Answer {
        let Self { partition, epochs, slack, .. } = self;
        let mut new_epoch = || {
            *epochs += 1;
            unknown_epoch(*epochs)
        };
        let answer = match call {
            Call::Begin(begin) => Answer::Begun(partition.begin(at, begin)),
            Call::Commit(commit) => Answer::Committed(partition.commit(at, (**commit).clone())),
            Call::Abort(abort) => Answer::Held(vec![partition.abort(at, abort)]),
            Call::Extend(runs, lease) => Answer::Held(partition.extend(at, runs, *lease)),
            Call::Wait(wait) => Answer::Waits(partition.record_waits(at, wait)),
            Call::Remove(id, token) => Answer::Held(vec![partition.remove(at, id, *token)]),
            Call::Invalidate(invalidation) => {
                let attempt = InvalidationAttempt::next(invalidation.step.as_ref());
                let done = partition.invalidate(at, invalidation, attempt, page, new_epoch);
                done.map_or_else(|error| refusal(&error), Answer::Invalidated)
            }
            Call::Restart(step) => {
                partition.restart(at, step, new_epoch).map_or_else(|error| refusal(&error), |()| Answer::Done)
            }
            Call::Lead(feed, holder, lease) => Answer::Led(partition.lead(at, feed, *holder, *lease)),
            Call::Resign(feed, fence) => {
                partition.resign(at, feed, *fence);
                Answer::Done
            }
            Call::NewEpoch => {
                let epoch = new_epoch();
                partition.new_epoch(epoch);
                Answer::Epoch(epoch)
            }
            Call::Attach(sources) => {
                partition.attach(at, sources, new_epoch);
                Answer::Done
            }
            Call::KeepAttached(valid_for) => {
                partition.keep_attached(at, *valid_for);
                Answer::Done
            }
            Call::Programs(step) => Answer::Programs(self.register(at.now, step)),
            Call::Maintain => Answer::Maintained(partition.maintain(at, LIMIT)),
            Call::Enqueue(jobs) => Answer::Enqueued(partition.enqueue(at, jobs)),
            Call::Reserve(reserve) => Answer::Reserved(reserve_as(partition, at, reserve, hint, *slack)),
            Call::ExtendJobs(jobs, lease) => Answer::Held(partition.extend_jobs(at, jobs, *lease)),
            Call::Settle(settlements) => {
                Answer::Settled(settlements.iter().map(|settlement| partition.settle(at, settlement)).collect())
            }
            Call::Requeue(ids) => Answer::Count(ids.iter().map(|id| u64::from(partition.requeue(at, id))).sum()),
            Call::Discard(ids) => Answer::Count(ids.iter().map(|id| u64::from(partition.discard(id))).sum()),
        };
        self.remember();
        answer
    }

    fn remember(&mut self) {
        self.changed.extend(self.partition.changed.iter().map(|(dependency, revision)| (*dependency, *revision)));
    }

    fn register(&mut self, now: Timestamp, step: &smache_core::ProgramStep) -> Programs {
        let mut known = false;
        if let Some(program) = &step.register {
            let until = now.after(program.lease);
            let registered = RegisteredProgram { id: program.id, until, notes: program.notes.clone() };
            known = self.programs.insert(program.id, registered).is_some();
        }
        self.programs.retain(|id, program| !step.remove.contains(id) || program.until > now);
        Programs { now, known, programs: self.programs.values().cloned().collect() }
    }

    /// One more step of the interrupted invalidation. Returns the states that it may come to: everything may fit into
    /// one step, or the marks come first.
    pub(super) fn goes_on(&self, at: Moment<'_>) -> Vec<Self> {
        let ended = |answer: Result<_, smache_core::Error>| {
            let answer = answer.map_or_else(|error| refusal(&error), Answer::Invalidated);
            Some(Stage::Over(Box::new(Ended(answer))))
        };
        let mut next = Vec::new();
        for page in [0, usize::MAX] {
            let mut other = self.clone();
            let Self { partition, epochs, .. } = &mut other;
            let new_epoch = || {
                *epochs += 1;
                unknown_epoch(*epochs)
            };
            match &self.walk {
                Some(Stage::Waiting(invalidation, attempt)) => {
                    other.walk = match partition.open(at, invalidation, *attempt, page, new_epoch) {
                        Ok(Opened::Announced(walk)) => Some(Stage::Walking(walk)),
                        Ok(Opened::Done(done)) => ended(Ok(done)),
                        Err(error) => ended(Err(error)),
                    };
                }
                Some(Stage::Walking(walk)) if page == 0 => {
                    let mut walk = walk.clone();
                    other.walk = if walk.is_over() {
                        ended(partition.finish(at, *walk, new_epoch))
                    } else {
                        match partition.walk(at, &mut walk, 1) {
                            Ok(()) => Some(Stage::Walking(walk)),
                            Err(error) => ended(Err(error)),
                        }
                    };
                }
                _ => continue,
            }
            other.remember();
            next.push(other);
        }
        next
    }

    /// Epochs are random: those that the protocol has drawn are the ones of the tested side. One that was there before
    /// is none.
    pub(super) fn take_epochs(&mut self, tested: &Validity, is_old: impl Fn(&Epoch) -> bool) {
        let validity = &mut self.partition.validity;
        let take = |own: &mut Epoch, tested: &Epoch| {
            if is_unknown(own) && !is_old(tested) {
                *own = *tested;
            }
        };
        take(&mut validity.epoch, &tested.epoch);
        for (source, own) in &mut validity.sources {
            if let Some(tested) = tested.sources.get(source) {
                take(&mut own.epoch, &tested.epoch);
            }
        }
        // A store that no other process can reach needs no end of this.
        if tested.attached_until.is_none() {
            validity.attached_until = None;
        }
    }

    /// What is stored.
    pub(super) fn see(&self, store: bool, queue: bool) -> Seen {
        let partition = &self.partition;
        let mut seen = Seen::default();
        let ids = world::all_entries();
        if store {
            let dependencies = world::dependencies();
            let since = partition.revision.saturating_sub(LOOKS_BACK);
            let changed = |dependency: &&Dependency| {
                partition.is_marked(dependency) || self.changed.get(*dependency).is_some_and(|changed| *changed > since)
            };
            let least = dependencies.iter().filter(changed).copied().collect();
            let most = dependencies.iter().filter(|dependency| partition.conflicts_with(dependency, since));
            let marked = dependencies.iter().filter(|dependency| partition.is_marked(dependency));
            seen.validity = Some(partition.validity.clone());
            seen.records =
                ids.iter().map(|id| partition.records.get(id).map(crate::reference::Entry::record)).collect();
            seen.dependants = dependencies.iter().map(|dependency| partition.dependants(dependency)).collect();
            seen.stale = partition.stale();
            seen.positions =
                world::sources(u8::MAX).iter().map(|source| partition.positions.get(source).cloned()).collect();
            seen.stats = Some(self.stats());
            seen.changed = Some(Changed::Between { least, most: most.copied().collect() });
            seen.marked = marked.copied().collect::<BTreeSet<_>>();
            seen.programs = self.programs.values().map(|one| (one.id, one.until, one.notes.clone())).collect();
        }
        if queue {
            seen.counts = Some(partition.counts());
            let listed = |state: JobState| {
                let jobs = partition.jobs.iter().filter(|(_, job)| job.state().0 == state);
                let listed = jobs.map(|(id, job)| ListedJob { id: *id, at: job.state().1, error: job.error.clone() });
                (state, listed.collect::<Vec<_>>())
            };
            seen.listed = [JobState::Queued, JobState::Running, JobState::DeadLetter].map(listed).into();
            seen.found = ids.iter().map(|id| partition.find(id)).collect();
        }
        seen
    }

    fn stats(&self) -> smache_core::StoreStats {
        let partition = &self.partition;
        let mut stats = smache_core::StoreStats::default();
        stats.entries = partition.records.len() as u64;
        stats.stale = partition.records.values().filter(|entry| entry.head.since.is_some()).count() as u64;
        stats.running = partition.runs.len() as u64;
        stats.revision = partition.revision;
        stats.invalidations = partition.changed.len() as u64;
        stats
    }
}

/// Reserves as the tested side did, if it may choose so: of the due jobs with the same priority and time, any.
fn reserve_as(
    partition: &mut Partition,
    at: Moment<'_>,
    reserve: &Reserve,
    hint: &Answer,
    slack: Duration,
) -> Reservation {
    let Answer::Reserved(Reservation { jobs, .. }) = hint else { return partition.reserve(at, reserve) };
    let holds = |job: &smache_core::protocol::StoredJob| {
        job.lane == reserve.lane && matches!(job.stage, JobStage::Running { token, .. } if token == reserve.token)
    };
    partition.put_back_lapsed(at);
    if reserve.again && partition.jobs.values().any(holds) {
        return partition.reserve(at, reserve);
    }
    let due = partition.due(at, reserve.lane);
    let (chosen, left): (Vec<_>, Vec<_>) = due.iter().partition(|(.., id)| jobs.iter().any(|job| job.id == *id));
    // A clock that is read at two ends of a line cannot say which of two jobs came first.
    let as_urgent = |(priority, due, _): &(u8, Timestamp, _)| {
        left.iter().all(|(priority_left, due_left, _)| {
            priority < priority_left || priority == priority_left && *due <= due_left.after(slack)
        })
    };
    let enough = chosen.len() == jobs.len() && chosen.len() == reserve.max.min(due.len());
    if !enough || !chosen.iter().all(as_urgent) {
        return partition.reserve(at, reserve);
    }
    let until = at.now.after(reserve.lease);
    let jobs = chosen.iter().filter_map(|(.., id)| partition.take(id, reserve.token, until)).collect();
    Reservation { jobs, next_due: partition.next_due(at, reserve.lane) }
}

/// An epoch that the tested side has not shown yet.
fn unknown_epoch(number: u64) -> Epoch {
    let mut bytes = [0xEE; Epoch::LEN];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    Epoch::from_bytes(bytes)
}

fn is_unknown(epoch: &Epoch) -> bool {
    epoch.as_bytes()[..8] == [0xEE; 8]
}

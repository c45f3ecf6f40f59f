//! An operation with everything that it stands for: both sides get the same call.

use std::time::Duration;

use smache_core::{
    Abort, Begin, BeginOutcome, Commit, CommitOutcome, Dependency, EntryId, FeedId, FeedStep, Incarnation,
    Invalidation, JobEnd, Leadership, NewJob, OnConflict, ProgramStep, RecordWaits, Registration, Reserve, Settlement,
    SourceId, Timestamp, Token, UsedDependency, Via, WaitingRun,
};

use super::{
    facts::Answer,
    operation::{Batch, End, JobResult, Leader, Operation, Value},
    world::{self, Led, Reserved, Run, Slots, members},
};
use crate::steps;

/// A call of a method of the traits.
#[derive(Debug, Clone)]
pub(super) enum Call {
    Begin(Begin),
    Commit(Box<Commit>),
    Abort(Abort),
    Extend(Vec<(EntryId, Token)>, Duration),
    Wait(RecordWaits),
    Remove(EntryId, Option<Token>),
    Invalidate(Invalidation),
    Restart(FeedStep),
    Lead(FeedId, Token, Duration),
    Resign(FeedId, u64),
    NewEpoch,
    Attach(Vec<SourceId>),
    KeepAttached(Duration),
    Programs(ProgramStep),
    Maintain,
    Enqueue(Vec<NewJob>),
    Reserve(Reserve),
    ExtendJobs(Vec<(EntryId, Token)>, Duration),
    Settle(Vec<Settlement>),
    Requeue(Vec<EntryId>),
    Discard(Vec<EntryId>),
}

fn span(millis: u32) -> Duration {
    Duration::from_millis(millis.into())
}

impl Call {
    /// How many things change by it.
    pub(super) fn changes(&self) -> usize {
        match self {
            Self::Invalidate(invalidation) => invalidation.changed.len().max(invalidation.entries.len()),
            _ => 0,
        }
    }

    /// The call of an operation; `None` where it is about an empty slot, or no call at all.
    pub(super) fn of(operation: &Operation, slots: &mut Slots, now: Timestamp) -> Option<Self> {
        let run = |slots: &Slots, run: u8| slots.runs.get(usize::from(run)).cloned().flatten();
        let call = match *operation {
            Operation::Begin { entry, lease, .. } => {
                Self::Begin(Begin { id: world::entry(entry), token: slots.token(), lease: span(lease) })
            }
            Operation::BeginAgain { run: slot, lease } => {
                let Run { run, .. } = run(slots, slot)?;
                Self::Begin(Begin { id: run.id, token: run.token, lease: span(lease) })
            }
            Operation::Commit { run: slot, value, end } => {
                Self::Commit(Box::new(commit(&run(slots, slot)?, slot, &value, &end)))
            }
            Operation::Abort { run: slot, failed, delay } => {
                let Run { run, .. } = run(slots, slot)?;
                let failure = failed.then(|| "out of paper".to_owned());
                Self::Abort(Abort { id: run.id, token: run.token, failure, delay: span(delay) })
            }
            Operation::Extend { runs, lease } => {
                let runs = members(runs).filter_map(|slot| run(slots, slot)).map(|Run { run, .. }| (run.id, run.token));
                Self::Extend(runs.collect(), span(lease))
            }
            Operation::Wait { runs, child, lease } => {
                let child = world::entry(child);
                let waiting = |Run { run, .. }: Run| WaitingRun { id: run.id, token: run.token, child };
                let runs = members(runs).filter_map(|slot| run(slots, slot)).map(waiting).collect();
                Self::Wait(RecordWaits { runs, lease: span(lease), child })
            }
            Operation::Remove { entry, run: None } => Self::Remove(world::entry(entry), None),
            Operation::Remove { entry, run: Some(slot) } => {
                Self::Remove(world::entry(entry), Some(run(slots, slot)?.run.token))
            }
            Operation::Change { tags, entries } => Self::Invalidate(changes(tags, entries)),
            Operation::Deliver { leader, tags, batch } => {
                let step = Some(step(slots, &leader, &batch, now)?);
                Self::Invalidate(Invalidation { step, ..changes(tags, 0) })
            }
            Operation::Interrupted { tags, entries, leader, batch, .. } => {
                let step = match leader {
                    Some(leader) => Some(step(slots, &leader, &batch, now)?),
                    None => None,
                };
                Self::Invalidate(Invalidation { step, ..changes(tags, entries) })
            }
            Operation::Restart { leader, batch } => Self::Restart(step(slots, &leader, &batch, now)?),
            Operation::Lead { leader, lease } => {
                Self::Lead(world::feed(leader.feed), world::holder(leader.feed, leader.process), span(lease))
            }
            Operation::Resign { leader } => {
                let Led { fence, .. } = slots.leader(&leader)?.clone();
                Self::Resign(world::feed(leader.feed), fence)
            }
            Operation::NewEpoch => Self::NewEpoch,
            Operation::Attach { sources } => Self::Attach(world::sources(sources)),
            Operation::KeepAttached { valid_for } => Self::KeepAttached(span(valid_for)),
            Operation::Register { program, lease } => {
                let notes = format!("notes of program {program} for {lease}").into_bytes().into();
                let register = Some(Registration { id: world::program(program), notes, lease: span(lease) });
                Self::Programs(ProgramStep { register, remove: Vec::new() })
            }
            Operation::Unregister { programs } => {
                Self::Programs(ProgramStep { register: None, remove: members(programs).map(world::program).collect() })
            }
            Operation::Maintain => Self::Maintain,
            Operation::Enqueue { entries, lane, priority, delay, revive } => {
                let job = |id| NewJob { id, lane, priority, delay: span(delay), revive };
                Self::Enqueue(world::entries(entries).into_iter().map(job).collect())
            }
            Operation::Reserve { lane, max, lease, .. } => {
                Self::Reserve(Reserve { lane, max: max.into(), lease: span(lease), token: slots.token(), again: false })
            }
            Operation::ReserveAgain { slot } => Self::Reserve(slots.reservation(slot)?.request.clone().again()),
            Operation::ExtendJobs { slot, entries, lease } => {
                let token = slots.reservation(slot)?.request.token;
                Self::ExtendJobs(world::entries(entries).into_iter().map(|id| (id, token)).collect(), span(lease))
            }
            Operation::Settle { slot, entries, end } => {
                let token = slots.reservation(slot)?.request.token;
                let settle = |id| Settlement { id, token, end: job_end(end) };
                Self::Settle(world::entries(entries).into_iter().map(settle).collect())
            }
            Operation::Requeue { entries } => Self::Requeue(world::entries(entries)),
            Operation::Discard { entries } => Self::Discard(world::entries(entries)),
            Operation::Pass { .. } | Operation::NewIncarnation => return None,
        };
        Some(call)
    }

    /// What the processes learn from the answer.
    pub(super) fn learn(&self, operation: &Operation, answer: &Answer, slots: &mut Slots, here: &Incarnation) {
        match (*operation, self, answer) {
            (
                Operation::Begin { run: slot, .. } | Operation::BeginAgain { run: slot, .. },
                Self::Begin(begin),
                Answer::Begun(BeginOutcome::Begun(begun)),
            ) => {
                let run = steps::Run { id: begin.id, token: begin.token, begun: begun.clone() };
                slots.put_run(slot, Run { run, reported: None });
            }
            (
                Operation::Commit { run: slot, .. },
                Self::Commit(_),
                Answer::Committed(CommitOutcome::ConflictReported { revision, .. }),
            ) => slots.reported(slot, *revision),
            (Operation::Lead { leader, .. }, Self::Lead(..), Answer::Led(Leadership::Leader { fence })) => {
                slots.put_leader(&leader, Led { fence: *fence, incarnation: here.clone() });
            }
            (Operation::Reserve { slot, .. }, Self::Reserve(request), _) => {
                slots.put_reservation(slot, Reserved { request: request.clone() });
            }
            _ => {}
        }
    }
}

fn commit(Run { run, reported }: &Run, slot: u8, value: &Value, end: &End) -> Commit {
    let used_as = |via| move |dependency| UsedDependency { dependency, via };
    let mut used: Vec<UsedDependency> = world::tags(value.direct).map(used_as(Via::Direct)).collect();
    used.extend(world::tags(value.through).map(used_as(Via::Child)));
    used.extend(world::entries(value.calls).iter().map(Dependency::entry).map(used_as(Via::Child)));
    used.push(steps::guard(run.id));
    let text = format!("made in slot {slot} at {}", run.begun.start_revision);
    let version = reported.filter(|_| end.reread).unwrap_or(run.begun.start_revision);
    Commit {
        version,
        on_conflict: if end.report { OnConflict::Report } else { OnConflict::StoreStale },
        ttl: value.ttl.map(span),
        not_after: value.not_after.map(|after| run.begun.now.after(span(after))),
        tainted: end.tainted,
        lazy: end.lazy,
        conflict_delay: span(end.delay),
        ..run.value_of(&text, &used, &world::sources(value.sources))
    }
}

fn changes(tags: u8, entries: u8) -> Invalidation {
    let entries = world::entries(entries);
    let own = entries.iter().map(Dependency::entry);
    Invalidation { changed: world::tags(tags).chain(own).map(steps::change_of).collect(), entries, step: None }
}

/// A step of a process that has led the feed, and may think that it still does.
fn step(slots: &Slots, leader: &Leader, batch: &Batch, now: Timestamp) -> Option<FeedStep> {
    let led = slots.leader(leader)?.clone();
    let position = world::position(batch.history, batch.place);
    Some(FeedStep {
        feed: world::feed(leader.feed),
        fence: led.fence,
        leadership: span(batch.lease),
        incarnation: led.incarnation,
        positions: world::sources(batch.sources).into_iter().map(|source| (source, position.clone())).collect(),
        valid_for: batch.valid_for.map(span),
        deadline: batch.deadline.map(|deadline| now.after(span(deadline))),
        caught_up: batch.caught_up,
    })
}

fn job_end(end: JobResult) -> JobEnd {
    match end {
        JobResult::Done => JobEnd::Done,
        JobResult::Release { delay } => JobEnd::Release { delay: span(delay) },
        JobResult::Retry { delay } => JobEnd::Retry { delay: span(delay), error: "out of paper".into() },
        JobResult::DeadLetter => JobEnd::DeadLetter { error: "out of trees".into() },
    }
}

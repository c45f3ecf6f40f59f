//! Random sequences, compared with the memory backend.

use std::{collections::BTreeMap, sync::Arc};

use smache_core::{Backend, EntryId, Job, JobEnd, JobQueue, JobState, Lane, NewJob};
use smache_memory::Memory;

use super::{counts, dead_letter, enqueue, find, list, release, reserve_for, retry, settle};
use crate::{QueueHarness, chance::Chance, harness::random_namespace, steps::*};

const IDS: u32 = 6;

/// One queue and the jobs that are under way in it.
struct Side {
    queue: Arc<dyn JobQueue>,
    running: BTreeMap<EntryId, Job>,
}

/// A step on both queues. Every delay is zero or endless, and leases hold, so that the time does not matter.
#[derive(Debug)]
enum Operation {
    Enqueue(NewJob),
    ReserveAll(Lane),
    Settle(EntryId, JobEnd),
    Requeue(Vec<EntryId>),
    Discard(Vec<EntryId>),
}

impl Operation {
    fn random(chance: &mut Chance) -> Self {
        let entry = id(chance.below(IDS));
        let lane = Lane::ALL[chance.below(2) as usize];
        let delay = if chance.below(4) == 0 { LONG } else { std::time::Duration::ZERO };
        match chance.below(100) {
            0..40 => Self::Enqueue(NewJob { lane, delay, revive: chance.below(3) > 0, ..NewJob::now(entry, lane) }),
            40..55 => Self::ReserveAll(lane),
            55..90 => {
                let ends = [JobEnd::Done, release(), retry(), JobEnd::Release { delay: LONG }, dead_letter()];
                Self::Settle(entry, ends[chance.below(5) as usize].clone())
            }
            90..95 => Self::Requeue(chance.some(IDS).into_iter().map(id).collect()),
            _ => Self::Discard(chance.some(IDS).into_iter().map(id).collect()),
        }
    }
}

impl Side {
    fn new(queue: Arc<dyn JobQueue>) -> Self {
        Self { queue, running: BTreeMap::new() }
    }

    /// Does it and describes the outcome and the present jobs, without tokens and times.
    async fn apply(&mut self, operation: &Operation) -> String {
        let queue = &*self.queue;
        let outcome = match operation {
            Operation::Enqueue(job) => format!("{:?}", enqueue(queue, job.clone()).await),
            Operation::ReserveAll(lane) => {
                let mut taken = reserve_for(queue, *lane, 100, LONG).await;
                taken.sort_by_key(|job| job.id);
                let said: Vec<_> = taken.iter().map(|job| (job.id, job.errors, job.crashes)).collect();
                self.running.extend(taken.into_iter().map(|job| (job.id, job)));
                format!("{said:?}")
            }
            Operation::Settle(id, end) => match self.running.get(id) {
                Some(job) => format!("{:?}", settle(queue, job, end.clone()).await),
                None => String::new(),
            },
            Operation::Requeue(ids) => format!("{}", queue.requeue(ids).await.expect("requeue")),
            Operation::Discard(ids) => format!("{}", queue.discard(ids).await.expect("discard")),
        };
        let mut listed = Vec::new();
        for state in [JobState::Queued, JobState::Running, JobState::DeadLetter] {
            let mut jobs = list(queue, state, 4).await;
            jobs.sort_by_key(|job| job.id);
            listed.push(jobs.into_iter().map(|job| (job.id, job.error)).collect::<Vec<_>>());
        }
        let mut found = Vec::new();
        for id in ids(0..IDS) {
            let job = find(queue, id).await;
            found.push(job.map(|job| (job.lane, job.state, job.errors, job.crashes, job.error)));
        }
        format!("{outcome}, then {:?} {listed:?} {found:?}", counts(queue).await)
    }
}

/// Beyond the contract: after any sequence of steps the answers and jobs are those of the memory backend.
pub async fn random_steps_agree_with_the_memory_queue(harness: QueueHarness) {
    let reference = Memory::new().queue(&random_namespace()).expect("memory has queues");
    let mut chance = Chance::new();
    let mut tested = Side::new(Arc::clone(harness.role()));
    let mut reference = Side::new(reference);
    let mut history = Vec::new();
    for _ in 0..harness.rounds(600) {
        let operation = Operation::random(&mut chance);
        let got = tested.apply(&operation).await;
        let expected = reference.apply(&operation).await;
        history.push(format!("{operation:?} gave {expected}"));
        let last = || history.iter().rev().take(15).rev().cloned().collect::<Vec<_>>().join("\n");
        assert_eq!(got, expected, "left: the tested queue, right: memory; {chance:?}, after\n{}", last());
    }
}

//! The cases of a [`JobQueue`], by theme.

pub mod delivery;
pub mod endings;
pub mod found;
pub mod merging;
pub mod races;

use std::time::Duration;

use smache_core::{
    Enqueued, EntryId, FoundJob, Job, JobCounts, JobEnd, JobQueue, JobState, Lane, ListedJob, NewJob, Reserve, Settled,
    Settlement,
};

use crate::steps::LONG;

/// A job in the recompute lane that is due now.
pub(crate) fn job(id: EntryId) -> NewJob {
    NewJob::now(id, Lane::Recompute)
}

pub(crate) async fn enqueue(queue: &dyn JobQueue, job: NewJob) -> Enqueued {
    let outcomes = queue.enqueue(&[job]).await.expect("enqueue");
    assert_eq!(outcomes.len(), 1, "one answer a job");
    outcomes[0]
}

pub(crate) async fn reserve_for(queue: &dyn JobQueue, lane: Lane, max: usize, lease: Duration) -> Vec<Job> {
    let jobs = queue.reserve(Reserve::new(lane, max, lease)).await.expect("reserve").jobs;
    assert!(jobs.len() <= max, "{} jobs instead of at most {max}", jobs.len());
    assert!(jobs.iter().all(|job| job.lane == lane), "jobs of the other lane: {jobs:?}");
    jobs
}

/// All due jobs of the recompute lane.
pub(crate) async fn reserve(queue: &dyn JobQueue) -> Vec<Job> {
    reserve_for(queue, Lane::Recompute, 1_000, LONG).await
}

/// The one due job of the recompute lane.
pub(crate) async fn reserve_one(queue: &dyn JobQueue) -> Job {
    let mut jobs = reserve(queue).await;
    assert_eq!(jobs.len(), 1, "one job is due: {jobs:?}");
    jobs.remove(0)
}

pub(crate) async fn settle(queue: &dyn JobQueue, job: &Job, end: JobEnd) -> Settled {
    let settled = queue.settle(&[Settlement { id: job.id, token: job.token, end }]).await.expect("settle");
    assert_eq!(settled.len(), 1, "one answer a settlement");
    settled[0]
}

pub(crate) fn retry() -> JobEnd {
    JobEnd::Retry { delay: Duration::ZERO, error: "out of paper".into() }
}

pub(crate) fn dead_letter() -> JobEnd {
    JobEnd::DeadLetter { error: "out of trees".into() }
}

pub(crate) fn release() -> JobEnd {
    JobEnd::Release { delay: Duration::ZERO }
}

/// Propagation, recompute, running, dead letter.
pub(crate) async fn counts(queue: &dyn JobQueue) -> [u64; 4] {
    let JobCounts { propagation, recompute, running, dead_letters } = queue.counts().await.expect("counts");
    [propagation, recompute, running, dead_letters]
}

/// Every job of a state, page by page.
pub(crate) async fn list(queue: &dyn JobQueue, state: JobState, limit: usize) -> Vec<ListedJob> {
    let mut jobs = Vec::new();
    let mut cursor = None;
    loop {
        let page = queue.list(state, cursor, limit).await.expect("list");
        jobs.extend(page.jobs);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return jobs,
        }
    }
}

pub(crate) async fn find(queue: &dyn JobQueue, id: EntryId) -> Option<FoundJob> {
    queue.find(&id).await.expect("find")
}

//! Looking at the job of one entry.

use std::time::Duration;

use smache_core::{Enqueued, FoundJob, JobEnd, JobQueue, JobState, Lane, NewJob, Settled};

use super::{dead_letter, enqueue, find, job, list, release, reserve, reserve_for, reserve_one, retry, settle};
use crate::{QueueHarness, steps::*};

/// The delay that a slow machine may add to a time.
const SLACK: Duration = Duration::from_secs(60);

/// The job of entry 1, which is listed in its state and in no other, with the same time and error.
async fn found(queue: &dyn JobQueue) -> FoundJob {
    let found = find(queue, id(1)).await.expect("there is a job");
    for state in [JobState::Queued, JobState::Running, JobState::DeadLetter] {
        let listed = list(queue, state, 10).await.into_iter().find(|job| job.id == id(1));
        let expected = (state == found.state).then(|| (found.at, found.error.clone()));
        assert_eq!(listed.map(|job| (job.at, job.error)), expected, "in the listing of {state:?}, {found:?}");
    }
    found
}

/// When entry 1 has its job, with its lane and state as expected.
async fn place(queue: &dyn JobQueue, lane: Lane, state: JobState) -> smache_core::Timestamp {
    let found = found(queue).await;
    assert_eq!((found.lane, found.state), (lane, state), "{found:?}");
    found.at
}

#[track_caller]
fn assert_close(span: Duration, expected: Duration) {
    assert!(span + SLACK > expected && span < expected + SLACK, "{span:?} instead of {expected:?}");
}

/// A job is found in its lane and state, with the time that it is due, its lease ends or it became a dead letter,
/// whatever others there are.
pub async fn found_job_says_where_it_is(harness: QueueHarness) {
    let queue = &**harness.role();
    enqueue(queue, NewJob::now(id(2), Lane::Propagation)).await;
    let start = find(queue, id(2)).await.expect("there is a job").at;

    enqueue(queue, NewJob { delay: LONG, ..job(id(1)) }).await;
    assert_close(place(queue, Lane::Recompute, JobState::Queued).await.since(start), LONG);
    enqueue(queue, NewJob { delay: LONG / 2, ..NewJob::now(id(1), Lane::Propagation) }).await;
    assert_close(place(queue, Lane::Propagation, JobState::Queued).await.since(start), LONG / 2);

    enqueue(queue, job(id(1))).await;
    assert_close(place(queue, Lane::Propagation, JobState::Queued).await.since(start), Duration::ZERO);
    let taken = reserve_for(queue, Lane::Propagation, 10, LONG).await;
    let taken = taken.into_iter().find(|job| job.id == id(1)).expect("it is due");
    assert_close(place(queue, Lane::Propagation, JobState::Running).await.since(start), LONG);
    assert_eq!(queue.extend(&[(taken.id, taken.token)], LONG * 2).await.expect("extend"), [true]);
    assert_close(place(queue, Lane::Propagation, JobState::Running).await.since(start), LONG * 2);

    assert_eq!(settle(queue, &taken, JobEnd::Release { delay: LONG }).await, Settled::Settled);
    assert_close(place(queue, Lane::Propagation, JobState::Queued).await.since(start), LONG);
    enqueue(queue, job(id(1))).await;
    let taken = reserve_for(queue, Lane::Propagation, 10, LONG).await;
    harness.advance(PAUSE).await;
    assert_eq!(settle(queue, &taken[0], dead_letter()).await, Settled::Settled);
    let dead_letter = place(queue, Lane::Propagation, JobState::DeadLetter).await;
    assert!(dead_letter > start, "it was due at {start} and became a dead letter later, not at {dead_letter}");
    assert_close(dead_letter.since(start), PAUSE);

    assert_eq!(queue.requeue(&[id(1)]).await.expect("requeue"), 1);
    assert_close(place(queue, Lane::Propagation, JobState::Queued).await.since(start), PAUSE);
}

/// A job is found with its failures, while it waits for its retry, runs or becomes a dead letter, until it starts again
/// from the beginning.
pub async fn found_job_says_how_it_went(harness: QueueHarness) {
    let queue = &**harness.role();
    let failures = async |state| {
        let found = found(queue).await;
        assert_eq!(found.state, state, "{found:?}");
        (found.errors, found.crashes, found.error)
    };
    let paper = || Some("out of paper".to_owned());
    enqueue(queue, job(id(1))).await;
    assert_eq!(failures(JobState::Queued).await, (0, 0, None));
    let taken = reserve_one(queue).await;
    let failed = JobEnd::Retry { delay: SHORT, error: "out of ink".into() };
    assert_eq!(settle(queue, &taken, failed).await, Settled::Settled);
    assert_eq!(failures(JobState::Queued).await, (1, 0, Some("out of ink".into())), "it waits for its retry");

    harness.advance(PAUSE).await;
    assert_eq!(reserve_for(queue, Lane::Recompute, 1, SHORT).await.len(), 1);
    harness.advance(PAUSE).await;
    let taken = reserve_one(queue).await;
    assert_eq!(failures(JobState::Running).await, (1, 1, Some("out of ink".into())), "its worker vanished");
    assert_eq!(settle(queue, &taken, retry()).await, Settled::Settled);
    assert_eq!(failures(JobState::Queued).await, (2, 1, paper()), "the last error counts");
    assert_eq!(settle(queue, &reserve_one(queue).await, release()).await, Settled::Settled);
    assert_eq!(failures(JobState::Queued).await, (2, 1, paper()), "handed back without blame");

    assert_eq!(settle(queue, &reserve_one(queue).await, dead_letter()).await, Settled::Settled);
    assert_eq!(failures(JobState::DeadLetter).await, (2, 1, Some("out of trees".into())));
    assert_eq!(queue.requeue(&[id(1)]).await.expect("requeue"), 1);
    assert_eq!(failures(JobState::Queued).await, (0, 0, None), "it starts from the beginning");
    assert_eq!(settle(queue, &reserve_one(queue).await, retry()).await, Settled::Settled);
    assert_eq!(settle(queue, &reserve_one(queue).await, dead_letter()).await, Settled::Settled);
    assert_eq!(enqueue(queue, job(id(1))).await, Enqueued::Queued);
    assert_eq!(failures(JobState::Queued).await, (0, 0, None), "it was revived");
}

/// A request made while a job runs is not shown before its run is over.
pub async fn found_job_runs_before_it_runs_once_more(harness: QueueHarness) {
    let queue = &**harness.role();
    enqueue(queue, job(id(1))).await;
    let running = reserve_one(queue).await;
    let before = found(queue).await;
    assert_eq!(
        enqueue(queue, NewJob { delay: LONG * 2, ..NewJob::now(id(1), Lane::Propagation) }).await,
        Enqueued::Again
    );
    assert_eq!(found(queue).await, before, "it runs as it did");
    assert_eq!((before.lane, before.state), (Lane::Recompute, JobState::Running));
    assert_eq!(settle(queue, &running, JobEnd::Done).await, Settled::Again);
    let again = found(queue).await;
    assert_eq!((again.lane, again.state), (Lane::Propagation, JobState::Queued));
    assert_close(again.at.since(before.at), LONG);
}

/// There is no job before it was added, and none after it was done or discarded.
pub async fn job_that_is_over_is_not_found(harness: QueueHarness) {
    let queue = &**harness.role();
    assert_eq!(find(queue, id(1)).await, None);
    enqueue(queue, job(id(2))).await;
    assert_eq!(find(queue, id(1)).await, None, "the job of another entry");
    enqueue(queue, job(id(1))).await;
    for job in reserve(queue).await {
        let end = if job.id == id(1) { JobEnd::Done } else { dead_letter() };
        assert_eq!(settle(queue, &job, end).await, Settled::Settled);
    }
    assert_eq!(find(queue, id(1)).await, None, "it was done");
    assert!(find(queue, id(2)).await.is_some());
    assert_eq!(queue.discard(&[id(2)]).await.expect("discard"), 1);
    assert_eq!(find(queue, id(2)).await, None, "it was discarded");
}

//! Ending jobs.

use std::time::Duration;

use smache_core::{EntryId, JobEnd, JobState, Lane, NewJob, Settled, Settlement, Token};

use super::{counts, dead_letter, enqueue, job, list, release, reserve, reserve_for, reserve_one, retry, settle};
use crate::{QueueHarness, steps::*};

/// Only the worker that holds a job ends it, once.
pub async fn settle_needs_the_token(harness: QueueHarness) {
    let queue = &**harness.role();
    queue.enqueue(&[job(id(1)), job(id(2))]).await.expect("enqueue");
    let one = &reserve_for(queue, Lane::Recompute, 1, LONG).await[0];
    let two = &reserve_for(queue, Lane::Recompute, 1, LONG).await[0];
    for end in [JobEnd::Done, release(), retry(), dead_letter()] {
        let forged = [
            Settlement { id: one.id, token: Token::random(), end: end.clone() },
            Settlement { id: one.id, token: two.token, end },
        ];
        assert_eq!(queue.settle(&forged).await.expect("settle"), [Settled::Lost, Settled::Lost]);
        assert_eq!(counts(queue).await, [0, 0, 2, 0]);
    }
    let both = [
        Settlement { id: one.id, token: one.token, end: JobEnd::Done },
        Settlement { id: two.id, token: two.token, end: release() },
    ];
    assert_eq!(queue.settle(&both).await.expect("settle"), [Settled::Settled, Settled::Settled]);
    assert_eq!(queue.settle(&both).await.expect("settle"), [Settled::Lost, Settled::Lost]);
    assert_eq!(counts(queue).await, [0, 1, 0, 0]);
}

/// A job remembers how often it failed until it is done; handing it back is no failure.
pub async fn errors_are_counted_until_done(harness: QueueHarness) {
    let queue = &**harness.role();
    enqueue(queue, job(id(1))).await;
    for errors in 0..3 {
        let taken = reserve_one(queue).await;
        assert_eq!((taken.errors, taken.crashes), (errors, 0));
        assert_eq!(settle(queue, &taken, release()).await, Settled::Settled);
        let taken = reserve_one(queue).await;
        assert_eq!(taken.errors, errors, "handed back without blame");
        assert_eq!(settle(queue, &taken, retry()).await, Settled::Settled);
        let listed = list(queue, JobState::Queued, 10).await;
        assert_eq!(listed[0].error.as_deref(), Some("out of paper"));
        assert_eq!(enqueue(queue, job(id(1))).await, smache_core::Enqueued::Merged, "a request changes no counter");
    }
    let taken = reserve_one(queue).await;
    assert_eq!(taken.errors, 3);
    assert_eq!(settle(queue, &taken, JobEnd::Done).await, Settled::Settled);
    enqueue(queue, job(id(1))).await;
    let taken = reserve_one(queue).await;
    assert_eq!((taken.errors, taken.crashes), (0, 0));
}

/// Beyond the contract: a job that is handed back or tried again waits as long as its worker says.
pub async fn settled_job_waits_as_long_as_its_worker_says(harness: QueueHarness) {
    let queue = &**harness.role();
    queue.enqueue(&[job(id(1)), job(id(2))]).await.expect("enqueue");
    for job in reserve(queue).await {
        let end = match job.id == id(1) {
            true => JobEnd::Release { delay: LONG },
            false => JobEnd::Retry { delay: SHORT, error: "out of paper".into() },
        };
        assert_eq!(settle(queue, &job, end).await, Settled::Settled);
    }
    harness.advance(PAUSE).await;
    assert_eq!(reserve_one(queue).await.id, id(2));
    harness.advance(Duration::from_millis(10)).await;
    assert!(reserve(queue).await.is_empty());
}

/// A dead letter stays with its error until an operator requeues or discards it.
pub async fn dead_letter_keeps_its_error(harness: QueueHarness) {
    let queue = &**harness.role();
    queue.enqueue(&[job(id(1)), job(id(2)), job(id(3))]).await.expect("enqueue");
    for job in reserve(queue).await {
        assert_eq!(settle(queue, &job, retry()).await, Settled::Settled);
    }
    for job in reserve(queue).await {
        assert_eq!(settle(queue, &job, dead_letter()).await, Settled::Settled);
    }
    assert_eq!(counts(queue).await, [0, 0, 0, 3]);
    let errors: Vec<_> = list(queue, JobState::DeadLetter, 10).await.into_iter().map(|job| job.error).collect();
    assert_eq!(errors, vec![Some("out of trees".to_owned()); 3]);
    assert!(reserve(queue).await.is_empty());

    let asked = [id(1), id(7)];
    assert_eq!(
        (queue.requeue(&asked).await.expect("requeue"), queue.discard(&[id(2), id(8)]).await.expect("discard")),
        (1, 1)
    );
    assert_eq!(counts(queue).await, [0, 1, 0, 1]);
    assert_eq!(list(queue, JobState::DeadLetter, 10).await.len(), 1);
    let taken = reserve_one(queue).await;
    assert_eq!((taken.id, taken.errors, taken.crashes), (id(1), 0, 0));
    enqueue(queue, job(id(2))).await;
    let taken = reserve_one(queue).await;
    assert_eq!((taken.id, taken.errors, taken.crashes), (id(2), 0, 0));
}

/// Beyond the contract: a long error is cut where a character ends.
pub async fn error_is_bounded(harness: QueueHarness) {
    let queue = &**harness.role();
    enqueue(queue, job(id(1))).await;
    let taken = reserve_one(queue).await;
    settle(queue, &taken, JobEnd::DeadLetter { error: "ä".repeat(5_000) }).await;
    let listed = list(queue, JobState::DeadLetter, 10).await;
    assert_eq!(listed[0].error, Some("ä".repeat(1_000)));
}

/// Beyond the contract: people forget queued jobs and dead letters, but take none out of a worker's hands.
pub async fn running_job_is_not_discarded(harness: QueueHarness) {
    let queue = &**harness.role();
    enqueue(queue, job(id(1))).await;
    let running = reserve_one(queue).await;
    enqueue(queue, NewJob { delay: LONG, ..job(id(2)) }).await;
    let asked: Vec<EntryId> = ids(1..4);
    assert_eq!(queue.discard(&asked).await.expect("discard"), 1);
    assert_eq!(queue.requeue(&asked).await.expect("requeue"), 0);
    assert_eq!(counts(queue).await, [0, 0, 1, 0]);
    assert_eq!(settle(queue, &running, JobEnd::Done).await, Settled::Settled);
}

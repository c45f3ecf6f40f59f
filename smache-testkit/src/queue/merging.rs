//! Adding jobs that are there already.

use std::time::Duration;

use smache_core::{Enqueued, JobEnd, Lane, NewJob, Settled};

use super::{counts, enqueue, job, release, reserve, reserve_for, reserve_one, retry, settle};
use crate::{QueueHarness, queue::dead_letter, steps::*};

/// A job is there once, as early and as urgent as the most pressing request.
pub async fn queued_job_is_merged(harness: QueueHarness) {
    let queue = &**harness.role();
    let later = NewJob { delay: LONG, ..job(id(1)) };
    assert_eq!(enqueue(queue, later.clone()).await, Enqueued::Queued);
    assert_eq!(enqueue(queue, NewJob { delay: LONG + LONG, ..job(id(1)) }).await, Enqueued::Merged);
    assert_eq!(counts(queue).await, [0, 1, 0, 0]);
    assert!(reserve(queue).await.is_empty(), "it is not due yet");
    assert_eq!(enqueue(queue, job(id(1))).await, Enqueued::Merged);
    assert_eq!(enqueue(queue, later).await, Enqueued::Merged, "a later request does not put it off");
    assert_eq!(enqueue(queue, NewJob::now(id(1), Lane::Propagation)).await, Enqueued::Merged);
    assert_eq!(enqueue(queue, job(id(1))).await, Enqueued::Merged, "a less urgent lane does not move it back");
    assert_eq!(counts(queue).await, [1, 0, 0, 0]);
    assert!(reserve(queue).await.is_empty());
    assert_eq!(reserve_for(queue, Lane::Propagation, 10, LONG).await.len(), 1);
    assert!(queue.enqueue(&[]).await.expect("enqueue").is_empty());
}

/// Beyond the contract: the more urgent priority wins too, and jobs of one call are merged like others.
pub async fn merged_job_is_as_urgent_as_its_most_urgent_request(harness: QueueHarness) {
    let queue = &**harness.role();
    let jobs = [
        NewJob { priority: 6, ..job(id(1)) },
        NewJob { priority: 5, ..job(id(2)) },
        NewJob { priority: 2, ..job(id(1)) },
        NewJob { priority: 7, ..job(id(1)) },
    ];
    let outcomes = queue.enqueue(&jobs).await.expect("enqueue");
    assert_eq!(outcomes, [Enqueued::Queued, Enqueued::Queued, Enqueued::Merged, Enqueued::Merged]);
    let first = reserve_for(queue, Lane::Recompute, 1, LONG).await;
    assert_eq!(first[0].id, id(1));
}

/// A job that is requested while it runs runs once more, however it ends.
pub async fn running_job_runs_once_more(harness: QueueHarness) {
    let queue = &**harness.role();
    for (number, end) in [JobEnd::Done, release(), retry(), dead_letter()].into_iter().enumerate() {
        let number = u32::try_from(number).expect("four");
        enqueue(queue, job(id(number))).await;
        let running = reserve_one(queue).await;
        assert_eq!(enqueue(queue, job(id(number))).await, Enqueued::Again);
        assert_eq!(enqueue(queue, job(id(number))).await, Enqueued::Again);
        assert!(reserve(queue).await.is_empty(), "it runs: no other worker gets it");
        assert_eq!(settle(queue, &running, end).await, Settled::Again);
        let again = reserve_one(queue).await;
        assert_ne!(again.token, running.token);
        assert_eq!(settle(queue, &again, JobEnd::Done).await, Settled::Settled);
        assert_eq!(counts(queue).await, [0; 4], "once more, not twice");
    }
}

/// Beyond the contract: the request while it runs says in which lane and when it runs once more.
pub async fn once_more_is_as_it_was_requested(harness: QueueHarness) {
    let queue = &**harness.role();
    enqueue(queue, job(id(1))).await;
    let running = reserve_one(queue).await;
    enqueue(queue, NewJob { delay: LONG, ..NewJob::now(id(1), Lane::Propagation) }).await;
    assert_eq!(settle(queue, &running, JobEnd::Done).await, Settled::Again);
    assert_eq!(counts(queue).await, [1, 0, 0, 0]);
    assert!(reserve_for(queue, Lane::Propagation, 10, LONG).await.is_empty(), "it is not due yet");
    enqueue(queue, NewJob::now(id(1), Lane::Propagation)).await;
    assert_eq!(reserve_for(queue, Lane::Propagation, 10, LONG).await.len(), 1);

    // A job that fails backs off, although it was requested meanwhile.
    enqueue(queue, job(id(2))).await;
    let running = reserve_one(queue).await;
    enqueue(queue, job(id(2))).await;
    let failed = JobEnd::Retry { delay: LONG, error: "out of paper".into() };
    assert_eq!(settle(queue, &running, failed).await, Settled::Again);
    assert!(reserve(queue).await.is_empty(), "it backs off");
}

/// A job that was requested while it ran, and whose worker vanished, comes back at once, once, and as urgent as the
/// most urgent of its requests.
pub async fn request_before_a_crash_is_kept(harness: QueueHarness) {
    let queue = &**harness.role();
    let held = async |new: NewJob| {
        let lane = new.lane;
        enqueue(queue, new).await;
        reserve_for(queue, lane, 1, SHORT).await.remove(0)
    };
    let mut lost = vec![held(NewJob { priority: 6, ..job(id(1)) }).await];
    let urgent = NewJob { priority: 2, delay: LONG, ..NewJob::now(id(1), Lane::Propagation) };
    assert_eq!(enqueue(queue, urgent).await, Enqueued::Again);
    lost.push(held(NewJob { priority: 1, ..NewJob::now(id(2), Lane::Propagation) }).await);
    assert_eq!(enqueue(queue, NewJob { priority: 7, ..job(id(2)) }).await, Enqueued::Again);
    // A job between them.
    enqueue(queue, NewJob { priority: 3, ..NewJob::now(id(3), Lane::Propagation) }).await;
    harness.advance(PAUSE).await;

    assert!(reserve(queue).await.is_empty(), "the lane of the request is the more urgent one");
    let mut order = Vec::new();
    for _ in 0..3 {
        order.extend(reserve_for(queue, Lane::Propagation, 1, LONG).await);
    }
    let seen: Vec<_> = order.iter().map(|job| (job.id, job.crashes)).collect();
    assert_eq!(seen, [(id(2), 1), (id(1), 1), (id(3), 0)]);
    for job in &lost {
        assert_eq!(settle(queue, job, JobEnd::Done).await, Settled::Lost);
    }
    for job in &order {
        assert_eq!(settle(queue, job, JobEnd::Done).await, Settled::Settled, "it runs once more, not twice");
    }
    assert_eq!(counts(queue).await, [0; 4]);
}

/// A dead letter stays a dead letter until a request says that it may succeed now.
pub async fn dead_letter_is_revived_only_on_request(harness: QueueHarness) {
    let queue = &**harness.role();
    enqueue(queue, job(id(1))).await;
    let running = reserve_one(queue).await;
    assert_eq!(settle(queue, &running, retry()).await, Settled::Settled);
    let running = reserve_one(queue).await;
    assert_eq!(settle(queue, &running, dead_letter()).await, Settled::Settled);
    assert_eq!(enqueue(queue, NewJob { revive: false, ..job(id(1)) }).await, Enqueued::DeadLetter);
    assert!(reserve(queue).await.is_empty());
    assert_eq!(counts(queue).await, [0, 0, 0, 1]);
    assert_eq!(enqueue(queue, job(id(1))).await, Enqueued::Queued);
    assert_eq!(counts(queue).await, [0, 1, 0, 0]);
    let revived = reserve_one(queue).await;
    assert_eq!((revived.errors, revived.crashes), (0, 0), "it starts from the beginning");
}

/// Without `revive` a request adds a job where there is none, and changes nothing where there is one in any state.
pub async fn safety_net_changes_nothing_where_a_job_is(harness: QueueHarness) {
    let queue = &**harness.role();
    let net = |number| NewJob { revive: false, priority: 0, ..NewJob::now(id(number), Lane::Propagation) };
    enqueue(queue, NewJob { delay: LONG, ..job(id(1)) }).await;
    assert_eq!(enqueue(queue, net(1)).await, Enqueued::Merged);
    assert_eq!(counts(queue).await, [0, 1, 0, 0], "a queued job stays in its lane");
    assert!(reserve(queue).await.is_empty(), "a job that backs off is not pulled forward");
    queue
        .enqueue(&[NewJob { priority: 5, ..job(id(5)) }, NewJob { priority: 4, ..job(id(6)) }])
        .await
        .expect("enqueue");
    enqueue(queue, net(5)).await;
    assert_eq!(reserve_for(queue, Lane::Recompute, 1, LONG).await[0].id, id(6), "its priority stays");

    let running = reserve_one(queue).await;
    assert_eq!(enqueue(queue, net(5)).await, Enqueued::Merged);
    assert_eq!(settle(queue, &running, JobEnd::Done).await, Settled::Settled, "a running job does not run once more");

    enqueue(queue, job(id(2))).await;
    let running = reserve_one(queue).await;
    settle(queue, &running, dead_letter()).await;
    assert_eq!(enqueue(queue, net(2)).await, Enqueued::DeadLetter);
    assert_eq!(enqueue(queue, net(3)).await, Enqueued::Queued);
    assert_eq!(counts(queue).await, [1, 1, 1, 1]);
}

/// A job is delivered when its delay is over and not before.
pub async fn delayed_job_waits(harness: QueueHarness) {
    let queue = &**harness.role();
    enqueue(queue, NewJob { delay: LONG, ..job(id(1)) }).await;
    enqueue(queue, NewJob { delay: SHORT, ..job(id(2)) }).await;
    enqueue(queue, job(id(3))).await;
    harness.advance(PAUSE).await;
    let due: Vec<_> = reserve(queue).await.into_iter().map(|job| job.id).collect();
    assert_eq!(sorted(&due), [id(2), id(3)]);
    harness.advance(Duration::from_millis(10)).await;
    assert!(reserve(queue).await.is_empty());
    assert_eq!(counts(queue).await, [0, 1, 2, 0]);
}

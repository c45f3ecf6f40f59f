//! Giving jobs to workers.

use std::{sync::Arc, time::Duration};

use smache_core::{Enqueued, Job, JobEnd, JobQueue, JobState, Lane, NewJob, Reserve, Settled, Settlement, Token};
use tokio::time::Instant;

use super::{counts, enqueue, job, list, release, reserve, reserve_for, reserve_one, retry, settle};
use crate::{QueueHarness, queue::dead_letter, steps::*};

/// While its lease holds a job is one worker's.
pub async fn no_job_is_delivered_twice_while_reserved(harness: QueueHarness) {
    let queue = &**harness.role();
    let jobs: Vec<NewJob> = ids(0..10).into_iter().map(job).collect();
    queue.enqueue(&jobs).await.expect("enqueue");
    let first = reserve_for(queue, Lane::Recompute, 4, LONG).await;
    let second = reserve(queue).await;
    assert_eq!((first.len(), second.len()), (4, 6));
    let all: Vec<_> = first.iter().chain(&second).map(|job| job.id).collect();
    assert_eq!(sorted(&all), ids(0..10));
    harness.advance(PAUSE).await;
    assert!(reserve(queue).await.is_empty());
    assert_eq!(counts(queue).await, [0, 0, 10, 0]);
}

/// A job that its worker did not settle in time goes to another worker, and counts as a crash; the first one has lost
/// it.
pub async fn lapsed_reservation_is_delivered_again(harness: QueueHarness) {
    let queue = &**harness.role();
    enqueue(queue, job(id(1))).await;
    for crashes in 0..3 {
        let taken = reserve_for(queue, Lane::Recompute, 1, SHORT).await;
        assert_eq!((taken.len(), taken[0].crashes, taken[0].errors), (1, crashes, 0));
        harness.advance(PAUSE).await;
        if crashes == 2 {
            let next = reserve_one(queue).await;
            assert_eq!(next.crashes, 3);
            assert_eq!(settle(queue, &taken[0], JobEnd::Done).await, Settled::Lost);
            assert_eq!(settle(queue, &next, JobEnd::Done).await, Settled::Settled);
        }
    }
    assert_eq!(counts(queue).await, [0; 4]);
    enqueue(queue, job(id(1))).await;
    assert_eq!(reserve_one(queue).await.crashes, 0, "done forgets the crashes");
}

/// A worker that repeats a request after a lost answer gets the jobs that the request reserved, no more and without a
/// crash.
pub async fn reserve_again_gives_the_same_jobs(harness: QueueHarness) {
    let queue = &**harness.role();
    let jobs: Vec<NewJob> = ids(0..5).into_iter().map(job).collect();
    queue.enqueue(&jobs).await.expect("enqueue");
    enqueue(queue, NewJob::now(id(9), Lane::Propagation)).await;
    let lost = Reserve::new(Lane::Recompute, 3, LONG);
    let first = queue.reserve(lost.clone()).await.expect("reserve").jobs;
    assert_eq!((first.len(), counts(queue).await), (3, [1, 2, 3, 0]));
    assert_eq!(enqueue(queue, job(first[0].id)).await, Enqueued::Again);

    let ends = list(queue, JobState::Running, 10).await[0].at;
    let again = Reserve { lease: LONG * 2, ..lost.clone().again() };
    let answer = queue.reserve(again.clone()).await.expect("reserve");
    let found = |jobs: &[Job]| sorted(&jobs.iter().map(|job| job.id).collect::<Vec<_>>());
    assert_eq!(found(&answer.jobs), found(&first));
    assert!(answer.jobs.iter().all(|job| (job.token, job.crashes, job.errors) == (lost.token, 0, 0)), "{answer:?}");
    assert_eq!(answer.next_due, Some(Duration::ZERO), "the other two are due");
    let renewed = list(queue, JobState::Running, 10).await;
    assert_eq!(renewed.len(), 3);
    assert!(renewed.iter().all(|job| job.at >= ends.after(LONG / 2)), "the leases are those of the second request");

    assert_eq!(settle(queue, &first[0], JobEnd::Done).await, Settled::Again, "what was requested meanwhile is kept");
    assert_eq!(settle(queue, &first[1], JobEnd::Done).await, Settled::Settled);
    let rest = queue.reserve(again).await.expect("reserve").jobs;
    assert_eq!(found(&rest), [first[2].id], "what was settled is not held any more");

    let other = Reserve { lane: Lane::Propagation, ..lost.again() };
    assert_eq!(found(&queue.reserve(other).await.expect("reserve").jobs), [id(9)], "a token holds jobs of one lane");
    let never = Reserve::new(Lane::Recompute, 2, LONG).again();
    assert_eq!(queue.reserve(never).await.expect("reserve").jobs.len(), 2, "what never arrived reserves as usual");
}

/// Beyond the contract: whichever lane asks, a lapsed job goes back to its own.
pub async fn lapsed_job_goes_back_to_its_lane(harness: QueueHarness) {
    let queue = &**harness.role();
    enqueue(queue, NewJob::now(id(1), Lane::Propagation)).await;
    reserve_for(queue, Lane::Propagation, 1, SHORT).await;
    harness.advance(PAUSE).await;
    assert!(reserve(queue).await.is_empty());
    let again = reserve_for(queue, Lane::Propagation, 1, LONG).await;
    assert_eq!((again.len(), again[0].crashes), (1, 1));
}

/// Beyond the contract: a reservation that lapsed, with no other reservation since, is settled and extended as usual.
pub async fn lapsed_reservation_that_nobody_took_still_counts(harness: QueueHarness) {
    let queue = &**harness.role();
    queue.enqueue(&[job(id(1)), job(id(2))]).await.expect("enqueue");
    let taken = reserve_for(queue, Lane::Recompute, 2, SHORT).await;
    harness.advance(PAUSE).await;
    assert_eq!(settle(queue, &taken[0], JobEnd::Done).await, Settled::Settled);
    assert_eq!(queue.extend(&[(taken[1].id, taken[1].token)], LONG).await.expect("extend"), [true]);
    assert!(reserve(queue).await.is_empty());
}

/// The most urgent priority comes first, then the job that became due first; nothing comes before its time.
pub async fn urgent_job_comes_first(harness: QueueHarness) {
    let queue = &**harness.role();
    let with = |number, priority| NewJob { priority, ..job(id(number)) };
    enqueue(queue, with(1, 4)).await;
    harness.advance(Duration::from_millis(30)).await;
    enqueue(queue, with(2, 4)).await;
    enqueue(queue, with(3, 7)).await;
    enqueue(queue, with(4, 0)).await;
    enqueue(queue, NewJob { delay: LONG, ..with(5, 0) }).await;
    harness.advance(Duration::from_millis(30)).await;
    enqueue(queue, with(6, 4)).await;
    let mut order = Vec::new();
    for _ in 0..4 {
        order.extend(reserve_for(queue, Lane::Recompute, 1, LONG).await.into_iter().map(|job| job.id));
    }
    assert_eq!(order, [id(4), id(1), id(2), id(6)]);
    assert_eq!(reserve_one(queue).await.id, id(3));
}

/// A worker that asks for one lane gets no job of the other.
pub async fn lanes_are_reserved_apart(harness: QueueHarness) {
    let queue = &**harness.role();
    enqueue(queue, NewJob::now(id(1), Lane::Propagation)).await;
    enqueue(queue, NewJob::now(id(2), Lane::Recompute)).await;
    assert_eq!(counts(queue).await, [1, 1, 0, 0]);
    assert_eq!(reserve_for(queue, Lane::Propagation, 10, LONG).await[0].id, id(1));
    assert!(reserve_for(queue, Lane::Propagation, 10, LONG).await.is_empty());
    assert_eq!(reserve_for(queue, Lane::Recompute, 10, LONG).await[0].id, id(2));
    assert_eq!(counts(queue).await, [0, 0, 2, 0]);
}

/// A worker learns when the lane has a job for it next.
pub async fn next_due_is_reported(harness: QueueHarness) {
    let queue = &**harness.role();
    let ask = async |max| queue.reserve(Reserve::new(Lane::Recompute, max, LONG)).await.expect("reserve").next_due;
    enqueue(queue, NewJob { delay: SHORT, ..NewJob::now(id(9), Lane::Propagation) }).await;
    assert_eq!(ask(10).await, None, "the other lane does not count");
    enqueue(queue, NewJob { delay: LONG, ..job(id(1)) }).await;
    let next = ask(10).await.expect("a delayed job");
    assert!(next > Duration::ZERO && next <= LONG, "{next:?}");
    enqueue(queue, NewJob { delay: LONG / 2, ..job(id(2)) }).await;
    let next = ask(10).await.expect("a delayed job");
    assert!(next <= LONG / 2, "{next:?}");
    enqueue(queue, job(id(3))).await;
    enqueue(queue, job(id(4))).await;
    assert_eq!(ask(1).await, Some(Duration::ZERO), "more are due than were asked for");
    let next = ask(1).await.expect("the delayed jobs");
    assert!(next > Duration::ZERO, "nothing else is due");
}

/// Only the worker that holds a reservation extends it.
pub async fn extend_needs_the_token(harness: QueueHarness) {
    let queue = &**harness.role();
    queue.enqueue(&[job(id(1)), job(id(2))]).await.expect("enqueue");
    let one = &reserve_for(queue, Lane::Recompute, 1, SHORT).await[0];
    let two = &reserve_for(queue, Lane::Recompute, 1, SHORT).await[0];
    let asked = [(one.id, two.token), (id(7), one.token), (two.id, two.token)];
    assert_eq!(queue.extend(&asked, LONG).await.expect("extend"), [false, false, true]);
    harness.advance(PAUSE).await;
    assert_eq!(reserve_one(queue).await.id, one.id);
    assert_eq!(queue.extend(&[(one.id, one.token)], LONG).await.expect("extend"), [false]);
    assert!(queue.extend(&[], LONG).await.expect("extend").is_empty());
}

/// Beyond the contract: jobs of one reservation share its token, and are kept and ended each by itself.
pub async fn jobs_of_one_reservation_are_kept_and_ended_one_by_one(harness: QueueHarness) {
    let queue = &**harness.role();
    queue.enqueue(&ids(1..4).into_iter().map(job).collect::<Vec<_>>()).await.expect("enqueue");
    let mut held = reserve_for(queue, Lane::Recompute, 3, SHORT).await;
    held.sort_by_key(|job| job.id);
    let [one, two, three] = &held[..] else { panic!("three jobs are due: {held:?}") };
    let kept = [(one.id, one.token), (three.id, three.token)];
    assert_eq!(queue.extend(&kept, LONG).await.expect("extend"), [true, true]);
    harness.advance(PAUSE).await;
    let again = reserve_one(queue).await;
    assert_eq!((again.id, again.crashes), (two.id, 1));
    let done = |job: &Job| Settlement { id: job.id, token: job.token, end: JobEnd::Done };
    let settled = queue.settle(&[done(three), done(two), done(one)]).await.expect("settle");
    assert_eq!(settled, [Settled::Settled, Settled::Lost, Settled::Settled]);
    assert_eq!(settle(queue, &again, JobEnd::Done).await, Settled::Settled);
    assert_eq!(counts(queue).await, [0; 4]);
}

/// A worker that waits goes on soon after a job was added, long before its timeout.
pub async fn enqueue_wakes_a_waiting_worker(harness: QueueHarness) {
    let queue = Arc::clone(harness.role());
    for number in 0..3 {
        assert!(reserve(&*queue).await.is_empty());
        let waiting = tokio::spawn({
            let queue = Arc::clone(&queue);
            // A worker's loop: a hint may come for nothing.
            async move {
                let taken = async {
                    loop {
                        if let Some(job) = reserve(&*queue).await.pop() {
                            break job;
                        }
                        queue.wait(Duration::from_secs(60)).await.expect("wait");
                    }
                };
                tokio::time::timeout(Duration::from_secs(40), taken).await
            }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        enqueue(&*queue, job(id(number))).await;
        let taken = waiting.await.expect("the worker").expect("a hint long before the timeout of 60 s");
        assert_eq!(taken.id, id(number));
        assert_eq!(settle(&*queue, &taken, JobEnd::Done).await, Settled::Settled);
    }
}

/// Looks whenever a worker would, until the next job of the recompute lane is known to be due within that time.
pub(crate) async fn until_due_within(queue: &dyn JobQueue, bound: Duration) {
    let looking = async {
        loop {
            let reserve = Reserve::new(Lane::Recompute, 1, LONG);
            match queue.reserve(reserve).await.expect("reserve").next_due {
                Some(due) if due <= bound => return,
                _ => queue.wait(Duration::from_secs(60)).await.expect("wait"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(40), looking).await.expect("a hint long before the timeout of 60 s");
}

/// A worker that waits looks again soon after a job was queued for later: when it was added, when a worker handed it
/// back or it failed, when it was requested while it ran, and when another request made it due earlier.
pub async fn delayed_job_wakes_a_waiting_worker(harness: QueueHarness) {
    const LATER: Duration = Duration::from_secs(300);
    let queue = Arc::clone(harness.role());
    let until_due = |bound| {
        let queue = Arc::clone(&queue);
        tokio::spawn(async move { until_due_within(&*queue, bound).await })
    };
    let pause = || tokio::time::sleep(Duration::from_millis(50));
    let later = |number, delay| NewJob { delay, ..job(id(number)) };

    let waiting = until_due(LATER);
    pause().await;
    enqueue(&*queue, later(1, LATER)).await;
    waiting.await.expect("a job was added for later");
    let waiting = until_due(LATER / 2);
    pause().await;
    enqueue(&*queue, later(1, LATER / 2)).await;
    waiting.await.expect("it is due earlier than it was");
    assert_eq!(queue.discard(&[id(1)]).await.expect("discard"), 1);

    let ends =
        [JobEnd::Release { delay: LATER }, JobEnd::Retry { delay: LATER, error: "out of paper".into() }, JobEnd::Done];
    for (number, end) in (2..).zip(ends) {
        enqueue(&*queue, job(id(number))).await;
        let taken = reserve_one(&*queue).await;
        if end == JobEnd::Done {
            assert_eq!(enqueue(&*queue, later(number, LATER)).await, Enqueued::Again);
        }
        let waiting = until_due(LATER);
        pause().await;
        settle(&*queue, &taken, end).await;
        waiting.await.expect("its worker put it off");
        assert_eq!(queue.discard(&[id(number)]).await.expect("discard"), 1);
    }
}

/// A queue stays the same one when its jobs end, fail or are removed.
pub async fn incarnation_stays_while_jobs_come_and_go(harness: QueueHarness) {
    let queue = &**harness.role();
    let incarnation = queue.incarnation().await.expect("incarnation");
    enqueue(queue, job(id(1))).await;
    assert_eq!(queue.incarnation().await.expect("incarnation"), incarnation);
    let taken = reserve_one(queue).await;
    settle(queue, &taken, dead_letter()).await;
    enqueue(queue, job(id(2))).await;
    let taken = reserve_one(queue).await;
    settle(queue, &taken, JobEnd::Done).await;
    queue.discard(&[id(1)]).await.expect("discard");
    assert_eq!(queue.incarnation().await.expect("incarnation"), incarnation);
}

/// Beyond the contract: without a job the wait is over when its time is, and not before but for a hint now and then.
pub async fn wait_is_bounded(harness: QueueHarness) {
    let queue = &**harness.role();
    let mut whole = 0;
    let wait = async {
        for _ in 0..6 {
            let began = Instant::now();
            queue.wait(SHORT).await.expect("wait");
            whole += usize::from(began.elapsed() >= SHORT / 2);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("a wait of 60 ms takes no 10 s");
    assert!(whole >= 3, "{whole} of 6 waits took their time: workers would spin");
}

/// Every job is listed in its state, page by page, with its time and its last error.
pub async fn jobs_are_listed(harness: QueueHarness) {
    let queue = &**harness.role();
    let jobs: Vec<NewJob> = ids(0..30).into_iter().map(job).collect();
    queue.enqueue(&jobs).await.expect("enqueue");
    for job in reserve_for(queue, Lane::Recompute, 20, LONG).await {
        let index = ids(0..30).iter().position(|id| *id == job.id).expect("one of them");
        match index % 4 {
            0 => assert_eq!(settle(queue, &job, dead_letter()).await, Settled::Settled),
            1 => assert_eq!(settle(queue, &job, retry()).await, Settled::Settled),
            _ => {}
        }
    }
    enqueue(queue, NewJob { delay: LONG, ..NewJob::now(id(100), Lane::Propagation) }).await;
    let [propagation, recompute, running, dead_letters] = counts(queue).await;
    assert_eq!(propagation + recompute + running + dead_letters, 31);
    let expected = [
        (JobState::Queued, propagation + recompute),
        (JobState::Running, running),
        (JobState::DeadLetter, dead_letters),
    ];
    let mut seen = Vec::new();
    for (state, count) in expected {
        for limit in [3, 1_000] {
            let listed = list(queue, state, limit).await;
            let mut distinct: Vec<_> = listed.iter().map(|job| job.id).collect();
            distinct.sort();
            distinct.dedup();
            assert_eq!(distinct.len() as u64, count, "{state:?} by {limit}");
            assert!(
                state != JobState::DeadLetter || listed.iter().all(|job| job.error.as_deref() == Some("out of trees"))
            );
            if limit == 3 {
                seen.extend(distinct);
            }
        }
    }
    assert_eq!(sorted(&seen), ids(0..30).into_iter().chain([id(100)]).collect::<Vec<_>>());
}

/// Beyond the contract: an unknown token settles nothing, and empty requests are fine.
pub async fn unknown_jobs_are_lost(harness: QueueHarness) {
    let queue = &**harness.role();
    let forged = Settlement { id: id(1), token: Token::random(), end: release() };
    assert_eq!(queue.settle(&[forged]).await.expect("settle"), [Settled::Lost]);
    assert!(queue.settle(&[]).await.expect("settle").is_empty());
    assert!(reserve_for(queue, Lane::Recompute, 0, LONG).await.is_empty());
    assert_eq!(counts(queue).await, [0; 4]);
}

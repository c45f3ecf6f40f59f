//! Many at once, with exact totals.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use smache_core::{Enqueued, JobEnd, Lane, NewJob, Settled};

use super::{counts, enqueue, job, release, reserve, reserve_for, reserve_one, retry, settle};
use crate::{QueueHarness, steps::*};

/// Beyond the contract: many workers share many jobs, and each job is done exactly once.
pub async fn every_job_is_done_once(harness: QueueHarness) {
    let many = harness.rounds(400);
    let jobs: Vec<NewJob> = ids(0..many).into_iter().map(job).collect();
    harness.role().enqueue(&jobs).await.expect("enqueue");
    let done = all((0..6).map(|_| {
        let queue = Arc::clone(harness.role());
        async move {
            let mut done = Vec::new();
            loop {
                let taken = reserve_for(&*queue, Lane::Recompute, 7, LONG).await;
                if taken.is_empty() {
                    return done;
                }
                for job in taken {
                    assert_eq!(settle(&*queue, &job, JobEnd::Done).await, Settled::Settled);
                    done.push(job.id);
                }
            }
        }
    }))
    .await;
    let done: Vec<_> = done.into_iter().flatten().collect();
    assert_eq!(sorted(&done), ids(0..many));
    assert_eq!(counts(&**harness.role()).await, [0; 4]);
}

/// Beyond the contract: of many requests for the same job at once, one queues it.
pub async fn one_of_many_requests_queues_the_job(harness: QueueHarness) {
    let outcomes = all((0..12).map(|_| {
        let queue = Arc::clone(harness.role());
        async move { enqueue(&*queue, job(id(1))).await }
    }))
    .await;
    let queued = outcomes.iter().filter(|outcome| **outcome == Enqueued::Queued).count();
    let merged = outcomes.iter().filter(|outcome| **outcome == Enqueued::Merged).count();
    assert_eq!((queued, merged), (1, 11));
    assert_eq!(reserve(&**harness.role()).await.len(), 1);
}

/// Beyond the contract: no request is lost between those that ask and those that run: after the last request a run
/// begins, and one entry is never run by two at once.
pub async fn last_request_is_always_followed_by_a_run(harness: QueueHarness) {
    const ENTRIES: u32 = 5;
    let requested: Arc<Vec<AtomicU64>> = Arc::new((0..ENTRIES).map(|_| AtomicU64::new(0)).collect());
    let ran: Arc<Vec<AtomicU64>> = Arc::new((0..ENTRIES).map(|_| AtomicU64::new(0)).collect());
    let running: Arc<Vec<AtomicU64>> = Arc::new((0..ENTRIES).map(|_| AtomicU64::new(0)).collect());
    let open = Arc::new(AtomicU64::new(4));
    let rounds = harness.rounds(60);
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let queue = Arc::clone(harness.role());
            let requested = Arc::clone(&requested);
            let open = Arc::clone(&open);
            tokio::spawn(async move {
                for number in 0..rounds {
                    let entry = (writer + number) % ENTRIES;
                    requested[entry as usize].fetch_add(1, Ordering::SeqCst);
                    enqueue(&*queue, job(id(entry))).await;
                    tokio::task::yield_now().await;
                }
                open.fetch_sub(1, Ordering::SeqCst);
            })
        })
        .collect();
    let workers: Vec<_> = (0..3_usize)
        .map(|worker| {
            let queue = Arc::clone(harness.role());
            let requested = Arc::clone(&requested);
            let ran = Arc::clone(&ran);
            let running = Arc::clone(&running);
            let open = Arc::clone(&open);
            tokio::spawn(async move {
                let mut turn = worker;
                loop {
                    let closed = open.load(Ordering::SeqCst) == 0;
                    let taken = reserve_for(&*queue, Lane::Recompute, 2, LONG).await;
                    if taken.is_empty() && closed && counts(&*queue).await == [0; 4] {
                        return;
                    }
                    for job in taken {
                        let entry = ids(0..ENTRIES).iter().position(|id| *id == job.id).expect("one of them");
                        assert_eq!(running[entry].fetch_add(1, Ordering::SeqCst), 0, "two run entry {entry} at once");
                        let state = requested[entry].load(Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        ran[entry].fetch_max(state, Ordering::SeqCst);
                        running[entry].fetch_sub(1, Ordering::SeqCst);
                        turn += 1;
                        let end = if turn % 5 == 0 {
                            release()
                        } else if turn % 7 == 0 {
                            retry()
                        } else {
                            JobEnd::Done
                        };
                        assert_ne!(settle(&*queue, &job, end).await, Settled::Lost);
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in writers.into_iter().chain(workers) {
        task.await.expect("a task of the case");
    }
    for entry in 0..ENTRIES as usize {
        assert_eq!(ran[entry].load(Ordering::SeqCst), requested[entry].load(Ordering::SeqCst), "entry {entry}");
    }
}

/// Beyond the contract: a step whose future is dropped half-way loses no job, and gives none to two workers.
pub async fn dropped_steps_lose_no_job(harness: QueueHarness) {
    let queue = &**harness.role();
    let mut taken: BTreeMap<_, u32> = BTreeMap::new();
    let rounds = harness.rounds(40);
    for round in 0..rounds {
        let patience = Duration::from_micros(1_600) * round / rounds;
        let _ = tokio::time::timeout(patience, queue.enqueue(&[job(id(round))])).await;
        enqueue(queue, job(id(round))).await;
        let lost = reserve_for(queue, Lane::Recompute, 1, SHORT);
        let reserved = tokio::time::timeout(patience, lost).await.unwrap_or_default();
        for job in reserved {
            let _ = tokio::time::timeout(patience, settle(queue, &job, JobEnd::Done)).await;
            settle(queue, &job, JobEnd::Done).await;
            *taken.entry(job.id).or_default() += 1;
        }
    }
    // The server may do a step late whose future was dropped: the leases of its jobs begin then.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        harness.advance(PAUSE).await;
        for job in reserve(queue).await {
            assert_eq!(settle(queue, &job, JobEnd::Done).await, Settled::Settled);
            *taken.entry(job.id).or_default() += 1;
        }
        let left = counts(queue).await;
        if left == [0; 4] {
            break;
        }
        assert!(Instant::now() < deadline, "jobs remain that no worker gets: {left:?}");
    }
    assert_eq!(taken.keys().copied().collect::<Vec<_>>(), ids(0..rounds));
    enqueue(queue, job(id(0))).await;
    assert_eq!(reserve_one(queue).await.id, id(0));
}

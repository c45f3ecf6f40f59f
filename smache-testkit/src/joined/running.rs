//! Jobs whose entry changes while they run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use smache_core::{Abort, CommitOutcome, JobEnd, JobState, Lane, Settled};

use super::{both, is_stale};
use crate::{
    JoinedHarness,
    queue::{counts, dead_letter, list, release, reserve, reserve_for, reserve_one, retry, settle},
    steps::*,
};

/// Beyond the contract: an entry that changes while its job runs is run once more, unless the run was not overtaken.
pub async fn change_while_the_job_runs_is_not_lost(harness: JoinedHarness) {
    let (store, queue) = both(&harness);
    compute(store, id(1), "one", &[direct("a")]).await;
    change(store, "a").await;
    let running = reserve_one(queue).await;
    let run = begin(store, id(1)).await;
    change(store, "a").await;
    assert_conflicted(&commit(store, run.value("overtaken", &[direct("a")])).await, &[tag("a")]);
    assert_eq!(settle(queue, &running, JobEnd::Done).await, Settled::Again);

    let running = reserve_one(queue).await;
    change(store, "a").await;
    let run = begin(store, id(1)).await;
    assert_fresh(&commit(store, run.value("two", &[direct("a")])).await);
    assert_eq!(settle(queue, &running, JobEnd::Done).await, Settled::Settled, "the change was before the run");
    assert_eq!(counts(queue).await, [0; 4]);

    change(store, "a").await;
    let running = reserve_one(queue).await;
    let run = begin(store, id(1)).await;
    assert_fresh(&commit(store, run.value("three", &[direct("a")])).await);
    change(store, "a").await;
    assert_eq!(settle(queue, &running, JobEnd::Done).await, Settled::Again, "the change was after the run");
    assert_eq!(counts(queue).await, [0, 1, 0, 0]);
}

/// An aborted run leaves its stale entry with a job, not before the delay; a fresh entry needs none.
pub async fn aborted_stale_entry_has_a_job(harness: JoinedHarness) {
    let (store, queue) = both(&harness);
    let abort = async |run: &Run, delay| {
        let abort = Abort { id: run.id, token: run.token, failure: Some("failed".into()), delay };
        assert!(store.abort(abort).await.expect("abort"));
    };
    compute(store, id(1), "one", &[direct("a")]).await;
    abort(&begin(store, id(1)).await, Duration::ZERO).await;
    abort(&begin(store, id(2)).await, Duration::ZERO).await;
    assert_eq!(counts(queue).await, [0; 4], "one is fresh, two has no record");

    change(store, "a").await;
    let running = reserve_one(queue).await;
    assert_eq!(settle(queue, &running, JobEnd::Done).await, Settled::Settled);

    // No job of it exists now.
    assert_eq!(counts(queue).await, [0; 4]);
    abort(&begin(store, id(1)).await, SHORT).await;
    assert_eq!(counts(queue).await, [0, 1, 0, 0]);
    abort(&begin(store, id(1)).await, LONG).await;
    harness.advance(PAUSE).await;
    assert_eq!(reserve(queue).await.len(), 1, "an earlier job stays as early as it was");
}

/// Beyond the contract: a job whose run failed for the last time becomes a dead letter, although that run left its
/// entry stale; a job that is tried again backs off as long as its worker says.
pub async fn run_that_failed_for_the_last_time_stays_a_dead_letter(harness: JoinedHarness) {
    let (store, queue) = both(&harness);
    compute(store, id(1), "one", &[direct("a")]).await;
    change(store, "a").await;
    for end in [retry(), JobEnd::Retry { delay: SHORT, error: "out of paper".into() }, dead_letter()] {
        let running = reserve_one(queue).await;
        let run = begin(store, id(1)).await;
        let abort = Abort { id: id(1), token: run.token, failure: Some("out of paper".into()), delay: Duration::ZERO };
        assert!(store.abort(abort).await.expect("abort"));
        settle(queue, &running, end).await;
        harness.advance(PAUSE).await;
    }
    assert_eq!(counts(queue).await, [0, 0, 0, 1]);
    let dead_letter = list(queue, JobState::DeadLetter, 10).await;
    assert_eq!(dead_letter[0].error.as_deref(), Some("out of trees"));

    // A reader's run that fails changes nothing about that.
    let run = begin(store, id(1)).await;
    let abort = Abort { id: id(1), token: run.token, failure: Some("out of paper".into()), delay: Duration::ZERO };
    assert!(store.abort(abort).await.expect("abort"));
    assert_eq!(counts(queue).await, [0, 0, 0, 1]);
    change(store, "a").await;
    assert_eq!(counts(queue).await, [0, 1, 0, 0]);
}

/// Beyond the contract: after any concurrent steps of writers and workers no job remains and everything is fresh and
/// computed from the last data, without a read.
pub async fn workers_make_everything_fresh(harness: JoinedHarness) {
    const ENTRIES: u32 = 6;
    let data = Arc::new(AtomicU64::new(0));
    let open = Arc::new(AtomicU64::new(3));
    let rounds = harness.rounds(40);
    for number in 0..ENTRIES {
        compute(&*harness.role().store, id(number), "0", &[direct("all"), direct(number), child("nested")]).await;
    }
    let writers: Vec<_> = (0..3_u32)
        .map(|writer| {
            let store = Arc::clone(&harness.role().store);
            let data = Arc::clone(&data);
            let open = Arc::clone(&open);
            tokio::spawn(async move {
                for number in 0..rounds {
                    data.fetch_add(1, Ordering::SeqCst);
                    match number % 3 {
                        0 => change(&*store, "all").await,
                        1 => change(&*store, "nested").await,
                        _ => change(&*store, (writer + number) % ENTRIES).await,
                    };
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                change(&*store, "all").await;
                open.fetch_sub(1, Ordering::SeqCst);
            })
        })
        .collect();
    let workers: Vec<_> = (0..3_u32)
        .map(|worker| {
            let both = harness.role().clone();
            let data = Arc::clone(&data);
            let open = Arc::clone(&open);
            tokio::spawn(async move {
                let store = &*both.store;
                let queue = &*both.queue;
                let mut turn = worker;
                loop {
                    let closed = open.load(Ordering::SeqCst) == 0;
                    let lane = Lane::ALL[(turn % 2) as usize];
                    turn += 1;
                    let taken = reserve_for(queue, lane, 2, LONG).await;
                    if taken.is_empty() && closed && counts(queue).await == [0; 4] {
                        return;
                    }
                    for job in taken {
                        let Ok(run) = try_begin(store, job.id, LONG).await else {
                            settle(queue, &job, release()).await;
                            continue;
                        };
                        if turn % 11 == 0 {
                            let abort = Abort { id: job.id, token: run.token, failure: None, delay: Duration::ZERO };
                            assert!(store.abort(abort).await.expect("abort"));
                            settle(queue, &job, retry()).await;
                            continue;
                        }
                        let value = data.load(Ordering::SeqCst).to_string();
                        tokio::task::yield_now().await;
                        let number = ids(0..ENTRIES).iter().position(|id| *id == job.id).expect("one of them");
                        let used = [direct("all"), direct(number), child("nested")];
                        let outcome = commit(store, run.value(&value, &used)).await;
                        assert!(
                            !matches!(outcome, CommitOutcome::Lost | CommitOutcome::OtherIncarnation),
                            "{outcome:?}"
                        );
                        assert_ne!(settle(queue, &job, JobEnd::Done).await, Settled::Lost);
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in writers.into_iter().chain(workers) {
        task.await.expect("a task of the case");
    }
    for number in 0..ENTRIES {
        assert!(!is_stale(&harness.role().store, id(number)).await, "entry {number}");
        let seen = see(&*harness.role().store, id(number)).await;
        assert_eq!((seen.text(), seen.is_fresh()), ((3 * rounds).to_string().as_str(), true), "entry {number}");
    }
}

//! The jobs that maintenance writes.

use smache_core::{Commit, JobEnd, Settled};

use super::{both, due};
use crate::{
    JoinedHarness,
    queue::{counts, dead_letter, reserve_one, settle},
    steps::*,
    store::paging::stop_half_way,
};

/// A stale entry whose run lapsed has a job again, in any state of the earlier one; a fresh one needs none.
pub async fn lapsed_run_gets_a_job(harness: JoinedHarness) {
    let (store, queue) = both(&harness);
    compute(store, id(1), "stale", &[direct("a")]).await;
    compute(store, id(2), "fresh", &[direct("b")]).await;
    let run = begin(store, id(3)).await;
    commit(store, Commit { lazy: true, ..run.value("lazy", &[direct("a")]) }).await;
    change(store, "a").await;
    // Its job is gone: a worker saw that another run computes the entry, and settled the job.
    let running = reserve_one(queue).await;
    for number in 1..=4 {
        begin_for(store, id(number), SHORT).await;
    }
    assert_eq!(settle(queue, &running, JobEnd::Done).await, Settled::Settled);
    assert_eq!(counts(queue).await, [0; 4]);
    harness.advance(GRACE).await;
    let reported = maintain(store).await;
    assert!(reported.is_empty(), "what the store wrote itself it does not report: {reported:?}");
    assert_eq!(due(queue).await, [vec![], vec![id(1)]]);
    assert_eq!(store.stats().await.expect("stats").running, 0);
}

/// Beyond the contract: a run that lapsed is no change: a job that became a dead letter stays a dead letter.
pub async fn lapsed_run_revives_no_dead_letter(harness: JoinedHarness) {
    let (store, queue) = both(&harness);
    compute(store, id(1), "stale", &[direct("a")]).await;
    change(store, "a").await;
    let running = reserve_one(queue).await;
    begin_for(store, id(1), SHORT).await;
    assert_eq!(settle(queue, &running, dead_letter()).await, Settled::Settled);
    harness.advance(GRACE).await;
    maintain(store).await;
    assert_eq!(store.stats().await.expect("stats").running, 0);
    assert_eq!(counts(queue).await, [0, 0, 0, 1]);
}

/// After a new epoch maintenance gives the entries of the old one their jobs.
pub async fn old_epoch_entries_get_jobs(harness: JoinedHarness) {
    let (store, queue) = both(&harness);
    store.attach(&[source("users"), source("orders")]).await.expect("attach");
    for number in 0..15 {
        compute_of(store, id(number), "of users", &[child("a")], &[source("users")]).await;
    }
    compute_of(store, id(20), "of orders", &[child("a")], &[source("orders")]).await;
    let run = begin(store, id(21)).await;
    commit(store, Commit { lazy: true, ..run.value_of("lazy", &[], &[source("users")]) }).await;
    maintain(store).await;
    assert_eq!(counts(queue).await, [0; 4]);
    let leader = lead(store, "feed", LONG).await;
    store.restart(leader.step(store, &["users"], 1).await).await.expect("restart");
    maintain(store).await;
    assert_eq!(due(queue).await, [vec![], ids(0..15)]);

    store.new_epoch().await.expect("new epoch");
    compute(store, id(20), "new", &[]).await;
    maintain(store).await;
    compute(store, id(0), "new", &[]).await;
    assert_eq!(counts(queue).await, [0, 0, 15, 0]);
    assert!(is_fresh(store, id(20)).await);
}

/// Beyond the contract: whatever starts a new epoch, the entries of the old one have jobs after maintenance.
pub async fn every_new_epoch_is_followed_by_jobs(harness: JoinedHarness) {
    let (store, queue) = both(&harness);
    let leader = confirming(store, "feed", &["users"]).await;
    for epoch in ["new epoch", "restart", "attach"] {
        for number in 0..5 {
            compute_of(store, id(number), epoch, &[child("a")], &[source("users")]).await;
        }
        maintain(store).await;
        assert_eq!(counts(queue).await, [0; 4], "before {epoch}");
        match epoch {
            "new epoch" => drop(store.new_epoch().await.expect("new epoch")),
            "attach" => store.attach(&[source("users")]).await.expect("attach"),
            _ => store.restart(leader.step(store, &["users"], 1).await).await.expect("restart"),
        }
        maintain(store).await;
        assert_eq!(counts(queue).await, [0, 5, 0, 0], "after {epoch}");
    }
}

/// Beyond the contract: every entry that an unfinished invalidation did not reach has its job when it was redone.
pub async fn redone_invalidation_writes_jobs(harness: JoinedHarness) {
    let (store, queue) = both(&harness);
    let many = harness.many().div_ceil(4);
    compute_many(&harness.role().store, &ids(0..many), &[direct("a")]).await;
    if !stop_half_way(store, &ids(0..many), &changes_of(&["a"])).await || !harness.pass_deadlines().await {
        return;
    }
    maintain(store).await;
    assert_eq!(counts(queue).await, [0, u64::from(many), 0, 0]);
}

/// Beyond the contract: an entry of an old epoch has its job back when its run is aborted.
pub async fn aborted_entry_of_an_old_epoch_has_a_job(harness: JoinedHarness) {
    let (store, queue) = both(&harness);
    compute(store, id(1), "one", &[direct("a")]).await;
    let run = begin(store, id(1)).await;
    store.new_epoch().await.expect("new epoch");
    let abort = smache_core::Abort { id: id(1), token: run.token, failure: None, delay: std::time::Duration::ZERO };
    assert!(store.abort(abort).await.expect("abort"));
    assert_eq!(due(queue).await, [vec![], vec![id(1)]]);
}

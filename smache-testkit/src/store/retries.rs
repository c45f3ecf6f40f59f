//! Steps whose answer got lost: doing them again is harmless.

use std::time::Duration;

use smache_core::{Abort, Begin, BeginOutcome, CommitOutcome};

use crate::{StoreHarness, steps::*};

/// Beyond the contract: the same begin again is the same run, from the same clock.
pub async fn begin_again_is_the_same_run(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin(store, id(1)).await;
    change(store, "a").await;
    let again = store.begin(Begin { id: id(1), token: run.token, lease: LONG }).await.expect("begin");
    let BeginOutcome::Begun(again) = again else { panic!("the run holds the lease, but the answer is {again:?}") };
    assert_eq!(again.start_revision, run.begun.start_revision);
    assert_conflicted(&commit(store, run.value("overtaken", &[direct("a")])).await, &[tag("a")]);
}

/// Beyond the contract: the same commit again stores nothing, and the first one is there to see.
pub async fn commit_again_is_lost_and_the_value_is_there(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin(store, id(1)).await;
    let value = run.value("one", &[direct("a")]);
    assert_fresh(&commit(store, value.clone()).await);
    change(store, "a").await;
    assert_eq!(commit(store, value.clone()).await, CommitOutcome::Lost);
    let seen = see(store, id(1)).await;
    assert_eq!((seen.text(), seen.entry.version, seen.is_fresh()), ("one", value.start_revision, false));
    assert_eq!(seen.entry.meta, value.meta);
}

/// Beyond the contract: a commit under the right token but of another begin stores nothing.
pub async fn commit_of_another_begin_is_lost(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin(store, id(1)).await;
    change(store, "a").await;
    let other =
        smache_core::Commit { start_revision: run.begun.start_revision + 1, ..run.value("forged", &[direct("a")]) };
    assert_eq!(commit(store, other).await, CommitOutcome::Lost);
    assert!(look(store, id(1)).await.is_none());
}

/// Beyond the contract: the same invalidation, abort, removal and step of a feed again do nothing new.
pub async fn everything_else_again_is_harmless(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "one", &[direct("a")]).await;
    let marked = [change(store, "a").await.marked, change(store, "a").await.marked];
    assert_eq!(marked, [1, 1]);
    let run = begin(store, id(1)).await;
    let abort = Abort { id: id(1), token: run.token, failure: Some("failed".into()), delay: Duration::ZERO };
    let aborted = [store.abort(abort.clone()).await.expect("abort"), store.abort(abort).await.expect("abort")];
    assert_eq!(aborted, [true, false]);
    assert_eq!(store.inspect(&id(1)).await.expect("inspect").expect("a record").failures, 1);
    let leader = confirming(store, "feed", &["users"]).await;
    let step = leader.step(store, &["users"], 4).await;
    save(store, step.clone()).await;
    save(store, step).await;
    assert_eq!(saved(store, "users").await, Some(position(4)));
    let removed =
        [store.remove(&id(1), None).await.expect("remove"), store.remove(&id(1), None).await.expect("remove")];
    assert_eq!(removed, [true, false]);
    store.resign(&leader.feed, leader.fence).await.expect("resign");
    store.resign(&leader.feed, leader.fence).await.expect("resign");
    lead(store, "feed", LONG).await;
}

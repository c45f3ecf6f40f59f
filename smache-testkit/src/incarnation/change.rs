//! A new incarnation of the server confirms nothing that the old one confirmed.

use smache_core::{CommitOutcome, ErrorKind, FeedStep, Freshness, Invalidation, Staleness};

use crate::{StoreHarness, steps::*};

/// Sources that only the application changes start a new epoch, once: earlier acknowledged reports may be lost.
pub async fn attach_on_a_new_incarnation_starts_an_epoch(harness: StoreHarness) {
    let store = &**harness.role();
    store.attach(&[source("users")]).await.expect("attach");
    compute_of(store, id(1), "one", &[direct("a")], &[source("users")]).await;
    harness.new_incarnation().await;
    assert!(see(store, id(1)).await.freshness.is_unconfirmed());
    store.attach(&[source("users")]).await.expect("attach");
    assert!(matches!(see(store, id(1)).await.freshness, Freshness::Stale { .. }));
    compute_of(store, id(1), "two", &[direct("a")], &[source("users")]).await;
    store.attach(&[source("users")]).await.expect("attach");
    assert!(is_fresh(store, id(1)).await, "attached on this incarnation already");
    assert_eq!(change(store, "a").await.marked, 1);
}

/// Beyond the contract: maintenance marks the entries of the epoch before the new incarnation.
pub async fn entries_of_the_incarnation_before_are_marked(harness: StoreHarness) {
    let store = &**harness.role();
    store.attach(&[source("users")]).await.expect("attach");
    compute_of(store, id(1), "one", &[direct("a")], &[source("users")]).await;
    compute(store, id(2), "of no source", &[direct("a")]).await;
    maintain(store).await;
    harness.new_incarnation().await;
    store.attach(&[source("users")]).await.expect("attach");
    maintain(store).await;
    let marked = [staleness(store, id(1)).await, staleness(store, id(2)).await];
    assert_eq!(marked, [Staleness::Stale, Staleness::Fresh]);
}

/// Beyond the contract: every answer names the same new incarnation.
pub async fn new_incarnation_is_named(harness: StoreHarness) {
    let store = &**harness.role();
    let before = store.lookup(&[]).await.expect("lookup").incarnation;
    harness.new_incarnation().await;
    let after = store.lookup(&[]).await.expect("lookup").incarnation;
    assert_ne!(before, after);
    assert_eq!(begin(store, id(1)).await.begun.incarnation, after);
    assert_eq!(store.positions(&[]).await.expect("positions").incarnation, after);
    assert_eq!(store.lookup(&[id(1)]).await.expect("lookup").incarnation, after);
}

/// Beyond the contract: a run that began in the earlier incarnation stores nothing; the next one works as usual.
pub async fn run_of_the_incarnation_before_stores_nothing(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin(store, id(1)).await;
    harness.new_incarnation().await;
    assert_eq!(commit(store, run.value("old", &[direct("a")])).await, CommitOutcome::OtherIncarnation);
    assert!(look(store, id(1)).await.is_none());
    store.remove(&id(1), None).await.expect("remove");
    compute(store, id(1), "new", &[direct("a")]).await;
    assert!(is_fresh(store, id(1)).await);
}

/// Beyond the contract: a feed confirms again only when its leader knows the new incarnation and has replayed in it.
pub async fn feed_confirms_again_after_it_has_caught_up(harness: StoreHarness) {
    let store = &**harness.role();
    let leader = confirming(store, "feed", &["users"]).await;
    compute_of(store, id(1), "one", &[direct("a")], &[source("users")]).await;
    assert!(is_fresh(store, id(1)).await);
    let old = FeedStep { valid_for: Some(LONG), caught_up: true, ..leader.step(store, &["users"], 5).await };
    harness.new_incarnation().await;

    assert!(see(store, id(1)).await.freshness.is_unconfirmed());
    let refused = store.invalidate(Invalidation { step: Some(old.clone()), ..changes_of(&["a"]) }).await;
    assert_eq!(refused.expect_err("a step of the incarnation before").kind(), ErrorKind::IncarnationChanged);
    assert_eq!(
        store.restart(old).await.expect_err("a step of the incarnation before").kind(),
        ErrorKind::IncarnationChanged
    );
    assert_eq!(saved(store, "users").await, Some(position(1)), "the leader replays from here");

    save(store, FeedStep { valid_for: Some(LONG), ..leader.step(store, &["users"], 3).await }).await;
    assert!(see(store, id(1)).await.freshness.is_unconfirmed(), "replaying");
    save(store, FeedStep { caught_up: true, ..leader.step(store, &["users"], 5).await }).await;
    assert!(is_fresh(store, id(1)).await, "nothing was lost: the value is as good as before");
}

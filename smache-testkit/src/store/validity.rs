//! Epochs, attached sources and the confirmations of feeds.

use smache_core::{CommitOutcome, FeedStep, Freshness, Staleness};

use crate::{StoreHarness, steps::*};

/// A new epoch makes every stored value stale in one step; later results are fresh.
pub async fn new_epoch_makes_everything_stale(harness: StoreHarness) {
    let store = &**harness.role();
    store.attach(&[source("users")]).await.expect("attach");
    compute(store, id(1), "one", &[direct("a")]).await;
    compute_of(store, id(2), "two", &[direct("b")], &[source("users")]).await;
    assert!(is_fresh(store, id(1)).await && is_fresh(store, id(2)).await);
    let before = store.lookup(&[]).await.expect("lookup").validity.epoch;
    let epoch = store.new_epoch().await.expect("new epoch");
    assert_ne!(before, epoch);
    assert_eq!(store.lookup(&[]).await.expect("lookup").validity.epoch, epoch);
    for number in 1..=2 {
        let seen = see(store, id(number)).await;
        assert!(matches!(seen.freshness, Freshness::Stale { .. }), "{:?}", seen.freshness);
    }
    compute_of(store, id(2), "three", &[direct("b")], &[source("users")]).await;
    assert!(is_fresh(store, id(2)).await && !is_fresh(store, id(1)).await);
}

/// An attached source is confirmed from then on; attaching it again changes nothing.
pub async fn attach_is_idempotent(harness: StoreHarness) {
    let store = &**harness.role();
    store.attach(&[source("users")]).await.expect("attach");
    compute_of(store, id(1), "one", &[direct("a")], &[source("users")]).await;
    let validity = store.lookup(&[]).await.expect("lookup").validity;
    let users = &validity.sources[&source("users")];
    assert!(users.valid_until.is_none() && users.caught_up_on.is_some(), "{users:?}");
    for _ in 0..3 {
        store.attach(&[source("orders"), source("users")]).await.expect("attach");
        assert!(is_fresh(store, id(1)).await);
    }
    let again = store.lookup(&[]).await.expect("lookup").validity;
    assert_eq!(again.sources[&source("users")], *users);
    compute_of(store, id(2), "two", &[], &[source("users"), source("orders")]).await;
    assert!(is_fresh(store, id(2)).await);
}

/// Attached sources confirm as long as a process keeps them, whichever one attached them. A store that no other process
/// can reach has no end of their validity to move.
pub async fn attached_sources_are_confirmed_while_they_are_kept(harness: StoreHarness) {
    let store = &**harness.role();
    store.attach(&[source("users")]).await.expect("attach");
    compute_of(store, id(1), "one", &[direct("a")], &[source("users")]).await;
    let ends = store.lookup(&[]).await.expect("lookup").validity.attached_until.is_some();
    store.keep_attached(SHORT).await.expect("keep");
    harness.advance(PAUSE).await;
    assert_eq!(is_fresh(store, id(1)).await, !ends, "no process keeps it");
    assert_eq!(staleness(store, id(1)).await, Staleness::Fresh, "nothing is known against it");
    store.keep_attached(LONG).await.expect("keep");
    assert!(is_fresh(store, id(1)).await, "kept again: the epoch is the same");
    // A source behind a feed is valid until another time.
    confirming(store, "feed", &["orders"]).await;
    compute_of(store, id(2), "two", &[], &[source("orders")]).await;
    store.keep_attached(SHORT).await.expect("keep");
    harness.advance(PAUSE).await;
    assert!(is_fresh(store, id(2)).await);
}

/// Beyond the contract: many processes attach the same sources at once, and agree on their epochs.
pub async fn attaching_at_once_starts_one_epoch(harness: StoreHarness) {
    let store = harness.role();
    let epochs = all((0..16).map(|_| {
        let store = std::sync::Arc::clone(store);
        async move {
            store.attach(&[source("users")]).await.expect("attach");
            store.lookup(&[]).await.expect("lookup").validity.sources[&source("users")].epoch
        }
    }))
    .await;
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
}

/// Lost history makes the values of the source stale, and of no other.
pub async fn restart_makes_the_source_stale(harness: StoreHarness) {
    let store = &**harness.role();
    let leader = confirming(store, "feed", &["users", "orders"]).await;
    compute_of(store, id(1), "one", &[direct("a")], &[source("users")]).await;
    compute_of(store, id(2), "two", &[direct("a")], &[source("orders")]).await;
    compute_of(store, id(3), "three", &[direct("a")], &[source("orders"), source("users")]).await;
    store.restart(leader.step(store, &["users"], 50).await).await.expect("restart");
    for (number, stale) in [(1, true), (2, false), (3, true)] {
        let seen = see(store, id(number)).await;
        assert_eq!(matches!(seen.freshness, Freshness::Stale { .. }), stale, "{number} is {:?}", seen.freshness);
    }
    assert_eq!(saved(store, "users").await, Some(position(50)));
    assert_eq!(saved(store, "orders").await, Some(position(1)));
    // The new history may count from the beginning.
    store.restart(leader.step(store, &["users"], 2).await).await.expect("restart");
    assert_eq!(saved(store, "users").await, Some(position(2)));
}

/// A source that was restarted confirms only when it is caught up and valid.
pub async fn restarted_source_confirms_after_it_has_caught_up(harness: StoreHarness) {
    let store = &**harness.role();
    let leader = lead(store, "feed", LONG).await;
    store
        .restart(FeedStep { valid_for: Some(LONG), caught_up: true, ..leader.step(store, &["users"], 1).await })
        .await
        .expect("restart");
    compute_of(store, id(1), "one", &[direct("a")], &[source("users")]).await;
    let freshness = async || see(store, id(1)).await.freshness;
    assert!(freshness().await.is_unconfirmed(), "restarted");
    save(store, FeedStep { caught_up: true, ..leader.step(store, &["users"], 2).await }).await;
    assert!(freshness().await.is_unconfirmed(), "caught up and not valid");
    save(store, FeedStep { valid_for: Some(SHORT), ..leader.step(store, &["users"], 2).await }).await;
    harness.advance(PAUSE).await;
    assert!(freshness().await.is_unconfirmed(), "its validity is over");
    save(store, FeedStep { valid_for: Some(LONG), ..leader.step(store, &["users"], 3).await }).await;
    assert!(freshness().await.is_fresh(), "caught up, and valid");
    store.restart(leader.step(store, &["users"], 9).await).await.expect("restart");
    compute_of(store, id(1), "two", &[direct("a")], &[source("users")]).await;
    assert!(freshness().await.is_unconfirmed(), "restarted again");
    assert_eq!(staleness(store, id(1)).await, Staleness::Fresh);
}

/// The changes of the history that is lost were never invalidated, so a value of before has a lower version than what is
/// read from now on.
pub async fn restart_raises_the_revision(harness: StoreHarness) {
    let store = &**harness.role();
    let leader = confirming(store, "feed", &["users"]).await;
    let run = begin(store, id(1)).await;
    compute_of(store, id(2), "before", &[direct("a")], &[source("users")]).await;
    let before = store.stats().await.expect("stats").revision;
    store.restart(leader.step(store, &["users"], 1).await).await.expect("restart");
    let after = store.stats().await.expect("stats").revision;
    assert!(after > before, "{after} after {before}");
    assert!(see(store, id(2)).await.entry.version < after);
    let outcome = commit(store, run.value_of("begun before", &[direct("a")], &[source("users")])).await;
    assert!(matches!(outcome, CommitOutcome::Conflicted { .. }), "{outcome:?}");
    assert!(see(store, id(1)).await.entry.version < after);
    assert_eq!(begin(store, id(3)).await.begun.start_revision, after);
}

/// The newest step of the leader decides until when it confirms, also where that is sooner than an older one decided:
/// the store's clock may have stepped back meanwhile.
pub async fn newest_step_overwrites_the_validity(harness: StoreHarness) {
    let store = &**harness.role();
    let leader = confirming(store, "feed", &["users"]).await;
    compute_of(store, id(1), "one", &[direct("a")], &[source("users")]).await;
    assert!(is_fresh(store, id(1)).await, "valid for long");
    save(store, FeedStep { valid_for: Some(SHORT), ..leader.step(store, &["users"], 2).await }).await;
    harness.advance(PAUSE).await;
    assert!(see(store, id(1)).await.freshness.is_unconfirmed(), "a short one came after it");
    save(store, FeedStep { valid_for: Some(LONG), ..leader.step(store, &["users"], 2).await }).await;
    assert!(is_fresh(store, id(1)).await);
    save(store, leader.step(store, &["users"], 3).await).await;
    assert!(is_fresh(store, id(1)).await, "a step without one keeps the last one");
}

/// A step that the network held for long confirms no longer than its leader meant.
pub async fn late_step_confirms_no_longer_than_its_deadline(harness: StoreHarness) {
    let store = &**harness.role();
    let leader = confirming(store, "feed", &["users"]).await;
    compute_of(store, id(1), "one", &[direct("a")], &[source("users")]).await;
    let now = store.lookup(&[]).await.expect("lookup").now;
    let step = leader.step(store, &["users"], 2).await;
    save(store, FeedStep { valid_for: Some(LONG), deadline: Some(now), ..step.clone() }).await;
    assert!(see(store, id(1)).await.freshness.is_unconfirmed(), "its deadline was over when it came");
    let deadline = Some(now.after(LONG * 2));
    save(store, FeedStep { valid_for: Some(SHORT), deadline, ..step.clone() }).await;
    harness.advance(PAUSE).await;
    assert!(see(store, id(1)).await.freshness.is_unconfirmed(), "a deadline alone confirms nothing");
    save(store, FeedStep { valid_for: Some(LONG), deadline, ..step }).await;
    assert!(is_fresh(store, id(1)).await);
}

/// A step whose position is of another history than the saved one, or before it, confirms nothing after the saved one.
pub async fn position_that_is_not_taken_confirms_nothing(harness: StoreHarness) {
    let store = &**harness.role();
    let leader = lead(store, "feed", LONG).await;
    store.restart(leader.step(store, &["users"], 5).await).await.expect("restart");
    compute_of(store, id(1), "one", &[direct("a")], &[source("users")]).await;
    let refused = [position_in("another", 9), position_in("another", 1), position(4)];
    for position in refused {
        let positions = vec![(source("users"), position.clone())];
        let step = FeedStep { valid_for: Some(LONG), caught_up: true, positions, ..leader.step(store, &[], 0).await };
        save(store, step).await;
        assert!(see(store, id(1)).await.freshness.is_unconfirmed(), "{position:?}");
        assert_eq!(saved(store, "users").await, Some(crate::steps::position(5)), "{position:?}");
    }
    save(store, FeedStep { valid_for: Some(LONG), caught_up: true, ..leader.step(store, &["users"], 5).await }).await;
    assert!(is_fresh(store, id(1)).await, "the same place again");
    // The other sources of the step are none the worse.
    let positions = vec![(source("users"), position_in("another", 9)), (source("orders"), position_in("another", 9))];
    let step = FeedStep { valid_for: Some(LONG), caught_up: true, positions, ..leader.step(store, &[], 0).await };
    save(store, step).await;
    compute_of(store, id(2), "two", &[], &[source("orders")]).await;
    assert!(is_fresh(store, id(2)).await);
    assert_eq!(saved(store, "users").await, Some(position(5)));
}

/// Beyond the contract: valid but behind, a source does not confirm.
pub async fn valid_until_alone_does_not_confirm(harness: StoreHarness) {
    let store = &**harness.role();
    let leader = lead(store, "feed", LONG).await;
    store.restart(leader.step(store, &["users"], 1).await).await.expect("restart");
    save(store, FeedStep { valid_for: Some(LONG), ..leader.step(store, &["users"], 2).await }).await;
    compute_of(store, id(1), "one", &[direct("a")], &[source("users")]).await;
    assert!(see(store, id(1)).await.freshness.is_unconfirmed());
}

/// Beyond the contract: a source changes hands between the application and a feed with a new epoch.
pub async fn source_changes_hands_with_a_new_epoch(harness: StoreHarness) {
    let store = &**harness.role();
    let leader = confirming(store, "feed", &["users"]).await;
    compute_of(store, id(1), "one", &[], &[source("users")]).await;
    store.attach(&[source("users")]).await.expect("attach");
    assert!(matches!(see(store, id(1)).await.freshness, Freshness::Stale { .. }), "attached");
    compute_of(store, id(1), "two", &[], &[source("users")]).await;
    assert!(is_fresh(store, id(1)).await);
    store.restart(leader.step(store, &["users"], 1).await).await.expect("restart");
    assert!(matches!(see(store, id(1)).await.freshness, Freshness::Stale { .. }), "behind a feed again");
}

//! Maintenance and the listing of stale entries.

use std::time::{Duration, Instant};

use smache_core::{Commit, CommitOutcome, Staleness};

use crate::{StoreHarness, steps::*};

/// So old a run of the cases is whose lease, five times [`SHORT`], lapsed longer ago than maintenance has to spare it.
const LAPSED_LONG_AGO: Duration = Duration::from_millis(1_300);

/// Maintenance removes expired entries with their edges and jobs, page by page, and nothing else.
pub async fn expired_entries_leave_nothing(harness: StoreHarness) {
    let store = &**harness.role();
    for number in 0..25 {
        let run = begin(store, id(number)).await;
        let used = [direct("a"), child(number)];
        assert_fresh(&commit(store, Commit { ttl: Some(SHORT), ..run.value("expires", &used) }).await);
    }
    compute(store, id(100), "stays", &[direct("a")]).await;
    let run = begin(store, id(101)).await;
    commit(store, Commit { ttl: Some(LONG), ..run.value("stays", &[direct("a")]) }).await;
    change(store, 3).await;
    harness.advance(PAUSE).await;

    let first = store.maintain(10).await.expect("maintain");
    assert!(first.expired <= 10 && first.more, "{first:?}");
    let mut expired = first.expired;
    loop {
        let next = store.maintain(10).await.expect("maintain");
        expired += next.expired;
        if !next.more {
            break;
        }
    }
    assert_eq!(expired, 25);
    assert!(look(store, id(0)).await.is_none());
    let stats = store.stats().await.expect("stats");
    assert_eq!((stats.entries, stats.stale, stats.running, stats.invalidations), (2, 0, 0, 0));
    assert_eq!(stale(store, 10).await, []);
    assert_eq!(change(store, "a").await.marked, 2);
    assert_eq!(change(store, 7).await.marked, 0);
}

/// Beyond the contract: an expired entry that is being computed keeps its value until the run is over.
pub async fn run_keeps_its_expired_entry(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin(store, id(1)).await;
    commit(store, Commit { ttl: Some(SHORT), ..run.value("old", &[direct("a")]) }).await;
    let run = begin(store, id(1)).await;
    harness.advance(PAUSE).await;
    maintain(store).await;
    assert_eq!(see(store, id(1)).await.text(), "old");
    assert_fresh(&commit(store, Commit { ttl: Some(LONG), ..run.value("new", &[direct("a")]) }).await);
    maintain(store).await;
    assert_eq!((see(store, id(1)).await.text(), is_fresh(store, id(1)).await), ("new", true));
    assert_eq!(change(store, "a").await.marked, 1);
}

/// Beyond the contract: a run whose lease has lapsed does not keep an expired entry, and does not end with it. It may be
/// late, and commits.
pub async fn late_run_outlives_its_expired_entry(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin(store, id(1)).await;
    commit(store, Commit { ttl: Some(Duration::ZERO), ..run.value("old", &[direct("a")]) }).await;
    let begun = Instant::now();
    let run = begin_for(store, id(1), Duration::ZERO).await;
    maintain(store).await;
    assert!(look(store, id(1)).await.is_none(), "it has expired");
    let outcome = commit(store, run.value("new", &[direct("a")])).await;
    if begun.elapsed() > LAPSED_LONG_AGO / 2 {
        // On a very slow machine maintenance may have ended the run.
        return;
    }
    assert_fresh(&outcome);
    assert_eq!(see(store, id(1)).await.text(), "new");
}

/// Maintenance forgets old invalidations, but none that a run may have to compare with: of a lapsed run neither.
pub async fn trim_spares_what_a_run_needs(harness: StoreHarness) {
    let store = &**harness.role();
    for number in 0..10 {
        change(store, number).await;
    }
    let run = begin(store, id(1)).await;
    for number in 5..19 {
        change(store, number).await;
    }
    maintain(store).await;
    let remembered = store.stats().await.expect("stats").invalidations;
    assert_eq!(remembered, 14, "those that the run may compare with, and no others");
    compute(store, id(3), "later", &[direct(1), direct(12)]).await;
    assert_conflicted(&commit(store, run.value("overtaken", &[direct(1), direct(7)])).await, &[tag(7)]);
    // On a slow machine it has lapsed long ago when it ends, and is lost: then another one is tried.
    for number in 100.. {
        let began = Instant::now();
        let lapsed = begin_for(store, id(number), 5 * SHORT).await;
        change(store, 19).await;
        harness.advance(5 * PAUSE).await;
        maintain(store).await;
        match commit(store, lapsed.value("overtaken", &[direct(2), direct(19)])).await {
            CommitOutcome::Lost if began.elapsed() > LAPSED_LONG_AGO && number < 150 => {}
            outcome => {
                assert_conflicted(&outcome, &[tag(19)]);
                break;
            }
        }
    }
    maintain(store).await;
    assert_eq!(store.stats().await.expect("stats").invalidations, 0);
    compute(store, id(1), "new", &[direct(1), direct(7)]).await;
}

/// Beyond the contract: a run that lapsed long ago is reaped; it has lost its entry.
pub async fn run_that_lapsed_long_ago_is_reaped(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin_for(store, id(1), SHORT).await;
    let holds = begin(store, id(2)).await;
    change(store, "a").await;
    harness.advance(GRACE).await;
    let mut reaped = 0;
    for _ in 0..10 {
        reaped += store.maintain(100).await.expect("maintain").reaped;
    }
    assert_eq!((reaped, store.stats().await.expect("stats").running), (1, 1));
    assert_eq!(commit(store, run.value("late", &[direct("a")])).await, CommitOutcome::Lost);
    assert_conflicted(&commit(store, holds.value("overtaken", &[direct("a")])).await, &[tag("a")]);
    assert!(look(store, id(1)).await.is_none());
}

/// Beyond the contract: after a new epoch maintenance marks the entries of the old one, and those only.
pub async fn old_epoch_entries_are_marked(harness: StoreHarness) {
    let store = &**harness.role();
    store.attach(&[source("users"), source("orders")]).await.expect("attach");
    for number in 0..30 {
        compute_of(store, id(number), "of users", &[direct("a")], &[source("users")]).await;
    }
    compute_of(store, id(50), "of orders", &[direct("a")], &[source("orders")]).await;
    maintain(store).await;
    assert_eq!(store.stats().await.expect("stats").stale, 0);
    let leader = lead(store, "feed", LONG).await;
    store.restart(leader.step(store, &["users"], 1).await).await.expect("restart");
    compute_of(store, id(51), "new", &[direct("a")], &[source("users")]).await;
    for _ in 0..100 {
        if !store.maintain(7).await.expect("maintain").more {
            break;
        }
    }
    for number in 0..30 {
        let seen = see(store, id(number)).await;
        assert_eq!((seen.entry.staleness, seen.entry.since.is_some()), (Staleness::Stale, true), "entry {number}");
    }
    assert!(is_fresh(store, id(50)).await);
    assert!(see(store, id(51)).await.freshness.is_unconfirmed());
    assert_eq!(store.stats().await.expect("stats").stale, 30);
}

/// Beyond the contract: whatever starts a new epoch, maintenance marks the entries of the old one.
pub async fn every_new_epoch_is_followed_by_marks(harness: StoreHarness) {
    let store = &**harness.role();
    let leader = confirming(store, "feed", &["users"]).await;
    for epoch in ["new epoch", "restart", "attach", "restart again"] {
        for number in 0..12 {
            compute_of(store, id(number), epoch, &[direct("a")], &[source("users")]).await;
        }
        maintain(store).await;
        assert_eq!(store.stats().await.expect("stats").stale, 0, "before {epoch}");
        match epoch {
            "new epoch" => drop(store.new_epoch().await.expect("new epoch")),
            "attach" => store.attach(&[source("users")]).await.expect("attach"),
            _ => store.restart(leader.step(store, &["users"], 1).await).await.expect("restart"),
        }
        maintain(store).await;
        for number in 0..12 {
            assert_eq!(staleness(store, id(number)).await, Staleness::Stale, "entry {number} after {epoch}");
        }
        assert_eq!(stale(store, 5).await.len(), 12, "after {epoch}");
    }
}

/// Beyond the contract: an epoch that begins while maintenance marks the entries of an earlier one makes it begin
/// again.
pub async fn epoch_that_begins_amid_the_marks_is_marked_too(harness: StoreHarness) {
    let store = &**harness.role();
    for number in 0..30 {
        compute(store, id(number), "old", &[direct("a")]).await;
    }
    store.new_epoch().await.expect("new epoch");
    for number in 30..60 {
        compute(store, id(number), "of the first new epoch", &[direct("a")]).await;
    }
    // Past entries of both epochs.
    for _ in 0..4 {
        store.maintain(10).await.expect("maintain");
    }
    for number in 0..10 {
        compute(store, id(number), "newer", &[direct("a")]).await;
    }
    store.new_epoch().await.expect("new epoch");
    maintain(store).await;
    for number in 0..60 {
        assert_eq!(staleness(store, id(number)).await, Staleness::Stale, "entry {number}");
    }
    assert_eq!(store.stats().await.expect("stats").stale, 60);
}

/// Every stale entry that needs a job is listed, with the time since when.
pub async fn stale_entries_are_listed(harness: StoreHarness) {
    let store = &**harness.role();
    assert_eq!(stale(store, 10).await, []);
    for number in 0..20 {
        compute(store, id(number), "one", &[direct(number % 2), child("both")]).await;
    }
    let run = begin(store, id(100)).await;
    commit(store, Commit { lazy: true, ..run.value("lazy", &[direct(0)]) }).await;
    change(store, 0).await;
    harness.advance(PAUSE).await;
    change(store, "both").await;
    compute(store, id(0), "fresh again", &[direct(0)]).await;

    for limit in [1, 3, 1_000] {
        let mut listed = stale(store, limit).await;
        listed.sort();
        listed.dedup();
        assert_eq!(listed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids(1..20));
        for (id, since) in listed {
            assert_eq!(Some(since), see(store, id).await.entry.since);
        }
    }
}

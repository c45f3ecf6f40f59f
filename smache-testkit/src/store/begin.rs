//! Starting runs.

use std::{sync::Arc, time::Duration};

use smache_core::Commit;

use crate::{StoreHarness, steps::*};

/// One run at a time while its lease holds; the others learn for how long at most.
pub async fn begin_is_exclusive_while_the_lease_holds(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin(store, id(1)).await;
    let remaining = try_begin(store, id(1), LONG).await.expect_err("another run holds the lease");
    assert!(remaining > Duration::ZERO && remaining <= LONG, "{remaining:?} remain of {LONG:?}");
    begin(store, id(2)).await;
    assert_fresh(&commit(store, run.value("one", &[])).await);
    begin(store, id(1)).await;
}

/// A lapsed lease is taken over; its owner can do nothing any more, and the new one everything.
pub async fn lapsed_lease_is_taken_over_and_the_zombie_is_refused(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "old", &[direct("a")]).await;
    let zombie = begin_for(store, id(1), SHORT).await;
    harness.advance(PAUSE).await;
    let run = begin(store, id(1)).await;

    assert_eq!(store.extend(&[(id(1), zombie.token)], LONG).await.expect("extend"), [false]);
    assert_eq!(commit(store, zombie.value("zombie", &[])).await, smache_core::CommitOutcome::Lost);
    assert!(!ends(store, &zombie).await, "a zombie gives nothing up");
    assert!(!store.remove(&id(1), Some(zombie.token)).await.expect("remove"), "a zombie removes nothing");
    assert_eq!(see(store, id(1)).await.text(), "old");

    assert_fresh(&commit(store, run.value("new", &[direct("b")])).await);
    assert_eq!(commit(store, zombie.value("zombie", &[])).await, smache_core::CommitOutcome::Lost);
    assert_eq!(see(store, id(1)).await.text(), "new");
    // The zombie did not use `b`: had it stored its edges, the change would be lost.
    change(store, "b").await;
    assert!(!is_fresh(store, id(1)).await);
}

async fn ends(store: &dyn smache_core::CacheStore, run: &Run) -> bool {
    let abort = smache_core::Abort { id: run.id, token: run.token, failure: None, delay: Duration::ZERO };
    store.abort(abort).await.expect("abort")
}

/// An entry without a value is begun like any other.
pub async fn begin_needs_no_record(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin(store, id(1)).await;
    assert!(run.begun.entry.is_none() && run.begun.call.is_none() && run.begun.conflicts == 0);
    assert!(look(store, id(1)).await.is_none(), "a run is not an entry");
    assert_fresh(&commit(store, run.value("one", &[])).await);
}

/// While a run is under way, readers get the earlier value as without a run.
pub async fn begin_keeps_the_value_readable(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "old", &[direct("a")]).await;
    let run = begin(store, id(1)).await;
    let seen = see(store, id(1)).await;
    assert_eq!((seen.text(), seen.is_fresh()), ("old", true));
    assert_eq!(run.begun.entry.as_ref(), Some(&seen.entry));
    assert_eq!(run.begun.call, Some(run.value("", &[]).call));
    change(store, "a").await;
    let seen = see(store, id(1)).await;
    assert_eq!((seen.text(), seen.is_fresh()), ("old", false));
}

/// Beyond the contract: a run that begins after a change was acknowledged is never overtaken by it.
pub async fn begin_starts_at_the_clock_of_the_last_change(harness: StoreHarness) {
    let store = &**harness.role();
    let before = begin(store, id(1)).await.begun.start_revision;
    let revision = change(store, "a").await.revision;
    assert!(revision > before, "the revision went from {before} to {revision}");
    let run = begin(store, id(2)).await;
    assert!(run.begun.start_revision >= revision, "the run starts at {} before {revision}", run.begun.start_revision);
    assert_fresh(&commit(store, run.value("two", &[direct("a")])).await);
    assert_eq!(see(store, id(2)).await.entry.version, run.begun.start_revision);
}

/// A run that begins while a dependency of its entry is being invalidated learns so from `begin`, and cannot store a
/// fresh value if it uses that dependency, unless the revision has grown already; after the end of the invalidation no
/// run learns so.
pub async fn begin_hints_at_an_invalidation_in_progress(harness: StoreHarness) {
    let store = harness.role();
    let many = harness.many().min(1_500);
    compute_many(store, &ids(0..many), &[direct("a")]).await;
    let invalidation = tokio::spawn({
        let store = Arc::clone(store);
        async move { change(&*store, "a").await }
    });
    let mut number = 0;
    let mut fresh = Vec::new();
    while !invalidation.is_finished() && number < many {
        let run = begin(&**store, id(number)).await;
        number += 1;
        if run.begun.pending {
            let outcome = commit(&**store, run.value("hasty", &[direct("a")])).await;
            if !matches!(outcome, smache_core::CommitOutcome::Conflicted { .. }) {
                fresh.push((run.begun.start_revision, outcome));
            }
        }
    }
    let ticked = invalidation.await.expect("the invalidation").revision;
    // Between the tick and the end of the announcement the change is over, and the hint one too many.
    let wrong: Vec<_> = fresh.iter().filter(|(start_revision, _)| *start_revision < ticked).collect();
    assert!(wrong.is_empty(), "begun under a hint before the revision {ticked}, but {wrong:?}");
    let run = begin(&**store, id(many)).await;
    assert_fresh(&commit(&**store, run.value("new", &[direct("a")])).await);
    let run = begin(&**store, id(many)).await;
    assert!(!run.begun.pending, "the invalidation is over");
    assert_fresh(&commit(&**store, Commit { lazy: true, ..run.value("new", &[direct("a")]) }).await);
}

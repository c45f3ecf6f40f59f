//! The dependencies that changed since a run began.

use std::time::Duration;

use smache_core::{Abort, Commit, CommitOutcome, Dependency, Invalidation, OnConflict};

use crate::{StoreHarness, steps::*};

/// A run asks during its work for the conflicts that it would meet at its end. Each changed dependency is named once,
/// whether anything depends on it or not; the run may go on from the revision of the answer.
pub async fn changes_since_a_revision_are_named(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "old", &[direct("a")]).await;
    change(store, "b").await;
    let run = begin(store, id(1)).await;
    let asked = [tag("a"), tag("b"), tag("unknown"), Dependency::entry(&id(1)), tag("a")];
    let since = async |revision| store.changed_since(revision, &asked).await.expect("changed since");
    let start_revision = run.begun.start_revision;
    let unchanged = since(start_revision).await;
    assert_eq!((unchanged.revision, &unchanged.dependencies[..]), (start_revision, &[][..]));
    assert_eq!(unchanged.incarnation, run.begun.incarnation);

    change(store, "a").await;
    change(store, "unused").await;
    let first = since(start_revision).await;
    assert_eq!(first.dependencies, [tag("a")]);
    assert!(first.revision > start_revision, "{first:?}");
    assert_eq!(since(start_revision).await, first, "asking changes nothing");
    assert!(since(first.revision).await.dependencies.is_empty(), "it goes on from there");

    let own = vec![change_of(Dependency::entry(&id(1)))];
    let entries = vec![id(1)];
    store.invalidate(Invalidation { changed: own, entries, step: None }).await.expect("invalidate");
    assert_eq!(since(first.revision).await.dependencies, [Dependency::entry(&id(1))]);
    assert_eq!(sorted(&since(start_revision).await.dependencies), sorted(&[tag("a"), Dependency::entry(&id(1))]));
    let none = store.changed_since(start_revision, &[]).await.expect("changed since");
    assert!(none.dependencies.is_empty() && none.revision > first.revision, "{none:?}");
    assert_conflicted(&commit(store, run.value("overtaken", &[direct("a")])).await, &[tag("a")]);

    let many: Vec<Dependency> = (0..12_000).map(tag).collect();
    let run = begin(store, id(2)).await;
    change(store, 11_999).await;
    let found = store.changed_since(run.begun.start_revision, &many).await.expect("changed since");
    assert_eq!(found.dependencies, [tag(11_999)]);
}

/// A value whose version is older than the changes that the store remembers is stored as stale: a dependency of it may
/// have changed since.
pub async fn version_older_than_what_is_remembered_conflicts(harness: StoreHarness) {
    let store = &**harness.role();
    let version = begin(store, id(1)).await.begun.start_revision;
    assert!(store.remove(&id(1), None).await.expect("remove"));
    change(store, "a").await;
    change(store, "b").await;
    maintain(store).await;
    assert_eq!(store.stats().await.expect("stats").invalidations, 0, "no run needs them");
    for on_conflict in [OnConflict::StoreStale, OnConflict::Report] {
        let run = begin(store, id(1)).await;
        let old = Commit { version, on_conflict, ..run.value("old", &[child("a"), direct("c")]) };
        let outcome = commit(store, old).await;
        assert!(matches!(outcome, CommitOutcome::Conflicted { .. }), "{outcome:?}");
        assert_eq!((see(store, id(1)).await.text(), is_fresh(store, id(1)).await), ("old", false));
    }
    compute(store, id(1), "of this version", &[child("a"), direct("c")]).await;
}

/// Beyond the contract: a store may bound the changes that it remembers, and loses none that a run may compare with.
pub async fn change_before_very_many_others_is_not_lost(harness: StoreHarness) {
    let store = &**harness.role();
    let many = harness.many() + harness.many() / 4;
    let run = begin(store, id(1)).await;
    change(store, "a").await;
    for from in (0..many).step_by(500) {
        let changed = (from..many.min(from + 500)).map(|number| change_of(tag(number))).collect();
        store.invalidate(Invalidation { changed, ..Invalidation::default() }).await.expect("invalidate");
    }
    let start_revision = run.begun.start_revision;
    let asked = [tag("a"), tag(0), tag(many - 1)];
    let found = store.changed_since(start_revision, &asked).await.expect("changed since");
    assert_eq!(sorted(&found.dependencies), sorted(&asked));
    let outcome = commit(store, run.value("overtaken", &[direct("a")])).await;
    assert!(matches!(outcome, CommitOutcome::Conflicted { .. }), "{outcome:?}");
    assert!(!is_fresh(store, id(1)).await);
}

/// A dependency that a store has forgotten may have changed at any time.
pub async fn changes_that_were_trimmed_are_named(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin(store, id(1)).await;
    change(store, "a").await;
    let given_up = Abort { id: run.id, token: run.token, failure: None, delay: Duration::ZERO };
    assert!(store.abort(given_up).await.expect("abort"));
    change(store, "b").await;
    maintain(store).await;
    let found = store.changed_since(run.begun.start_revision, &[tag("a"), tag("b")]).await.expect("changed since");
    assert_eq!(sorted(&found.dependencies), sorted(&[tag("a"), tag("b")]));
    let begun = begin(store, id(1)).await.begun;
    assert!(
        store.changed_since(begun.start_revision, &[tag("a")]).await.expect("changed since").dependencies.is_empty()
    );
}

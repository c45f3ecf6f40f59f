//! Removing.

use smache_core::{Commit, CommitOutcome, Dependency, Invalidation, Token};

use crate::{StoreHarness, steps::*};

/// A removed entry is nowhere: not in look-ups, indexes, listings or numbers.
pub async fn removed_entry_leaves_nothing(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "one", &[direct("a"), child("b")]).await;
    change(store, "a").await;
    let run = begin(store, id(1)).await;
    assert!(store.remove(&id(1), None).await.expect("remove"));
    assert!(!store.remove(&id(1), None).await.expect("remove"), "there is nothing left to remove");

    assert!(look(store, id(1)).await.is_none());
    assert!(store.inspect(&id(1)).await.expect("inspect").is_none());
    assert_eq!(stale(store, 10).await, []);
    let stats = store.stats().await.expect("stats");
    assert_eq!((stats.entries, stats.stale, stats.running), (0, 0, 0));
    let invalidated = store.invalidate(changes_of(&["a", "b"])).await.expect("invalidate");
    assert_eq!((invalidated.marked, invalidated.jobs), (0, Vec::new()));
    assert_eq!(store.extend(&[(id(1), run.token)], LONG).await.expect("extend"), [false]);

    let run = begin(store, id(1)).await;
    assert!(run.begun.entry.is_none() && run.begun.call.is_none() && run.begun.conflicts == 0);
    assert_fresh(&commit(store, run.value("again", &[direct("c")])).await);
    let invalidated = store.invalidate(changes_of(&["a", "b"])).await.expect("invalidate");
    assert_eq!((invalidated.marked, is_fresh(store, id(1)).await), (0, true));
}

/// A run that was under way when its entry was removed does not bring it back.
pub async fn removed_entry_is_not_resurrected(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "one", &[direct("a")]).await;
    let run = begin(store, id(1)).await;
    assert!(store.remove(&id(1), None).await.expect("remove"));
    assert_eq!(commit(store, run.value("late", &[direct("a")])).await, CommitOutcome::Lost);
    assert!(look(store, id(1)).await.is_none());

    // The same without a record: the step removes the run itself.
    let run = begin(store, id(2)).await;
    assert!(store.remove(&id(2), None).await.expect("remove"));
    assert_eq!(commit(store, run.value("late", &[])).await, CommitOutcome::Lost);
    assert!(look(store, id(2)).await.is_none());
}

/// Beyond the contract: with a token an entry is removed by its present run only, which ends with it.
pub async fn run_removes_its_own_entry_only(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "one", &[direct("a")]).await;
    assert!(!store.remove(&id(1), Some(Token::random())).await.expect("remove"), "no run computes it");
    let run = begin(store, id(1)).await;
    assert!(!store.remove(&id(1), Some(Token::random())).await.expect("remove"), "another run computes it");
    assert!(is_fresh(store, id(1)).await);
    assert!(store.remove(&id(1), Some(run.token)).await.expect("remove"));
    assert!(look(store, id(1)).await.is_none());
    begin(store, id(1)).await;
}

/// Beyond the contract: an entry that was removed and computed again while a run was under way is the new run's alone.
pub async fn run_of_before_a_removal_stays_lost(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "first", &[direct("a")]).await;
    let before = begin(store, id(1)).await;
    assert!(store.remove(&id(1), None).await.expect("remove"));
    let after = begin(store, id(1)).await;
    assert_eq!(commit(store, before.value("old", &[])).await, CommitOutcome::Lost);
    assert_fresh(&commit(store, after.value("new", &[direct("b")])).await);
    assert_eq!(commit(store, before.value("old", &[])).await, CommitOutcome::Lost);
    assert_eq!(see(store, id(1)).await.text(), "new");
    assert_eq!((change(store, "a").await.marked, change(store, "b").await.marked), (0, 1));
}

/// An edge whose entry is gone marks nothing, also when the entry comes back without it.
pub async fn edge_without_entry_is_dropped(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin(store, id(1)).await;
    commit(store, Commit { ttl: Some(SHORT), ..run.value("expires", &[direct("a")]) }).await;
    compute(store, id(2), "removed", &[direct("a")]).await;
    compute(store, id(3), "stays", &[direct("a")]).await;
    harness.advance(PAUSE).await;
    maintain(store).await;
    store.remove(&id(2), None).await.expect("remove");

    let invalidated = change(store, "a").await;
    assert_eq!(invalidated.marked, 1);
    assert!(invalidated.jobs.iter().all(|job| *job == id(3)), "{:?}", invalidated.jobs);
    for number in 1..=3 {
        compute(store, id(number), "without a", &[direct("b")]).await;
    }
    assert_eq!(change(store, "a").await.marked, 0);
    let entry = Dependency::entry(&id(9));
    let absent = Invalidation { changed: vec![change_of(entry)], entries: vec![id(9)], step: None };
    assert_eq!(store.invalidate(absent).await.expect("invalidate").marked, 0);
    assert!(look(store, id(9)).await.is_none(), "an invalidation makes no entry");
}

/// Beyond the contract: a parent holds the leaves of its child, so that it is found after the child is gone.
pub async fn parent_is_found_though_its_child_is_gone(harness: StoreHarness) {
    let store = &**harness.role();
    let (callee, parent) = (id(1), id(2));
    compute(store, callee, "child", &[direct("leaf")]).await;
    let own = smache_core::UsedDependency { dependency: Dependency::entry(&callee), via: smache_core::Via::Child };
    compute(store, parent, "parent", &[own, child("leaf")]).await;
    assert!(store.remove(&callee, None).await.expect("remove"));
    assert_eq!(change(store, "leaf").await.marked, 1);
    assert!(!is_fresh(store, parent).await);
}

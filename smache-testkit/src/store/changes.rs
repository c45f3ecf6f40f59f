//! What has changed since a run began.

use std::time::Duration;

use smache_core::{Abort, Dependency, Invalidation};

use crate::{StoreHarness, steps::*};

/// A run asks during its work what it would meet at its end. Each changed dependency is named once, whether anything depends on
/// it or not; the clock of the answer is one to go on from.
pub async fn changes_since_a_clock_are_named(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "old", &[direct("a")]).await;
    change(store, "b").await;
    let run = begin(store, id(1)).await;
    let asked = [tag("a"), tag("b"), tag("unknown"), Dependency::entry(&id(1)), tag("a")];
    let since = async |clock| store.changed_since(clock, &asked).await.expect("changed since");
    let started = run.begun.started;
    let unchanged = since(started).await;
    assert_eq!((unchanged.clock, &unchanged.dependencies[..]), (started, &[][..]));
    assert_eq!(unchanged.incarnation, run.begun.incarnation);

    change(store, "a").await;
    change(store, "unused").await;
    let first = since(started).await;
    assert_eq!(first.dependencies, [tag("a")]);
    assert!(first.clock > started, "{first:?}");
    assert_eq!(since(started).await, first, "asking changes nothing");
    assert!(since(first.clock).await.dependencies.is_empty(), "it goes on from there");

    let (own, entries) = (vec![hit(Dependency::entry(&id(1)))], vec![id(1)]);
    store.invalidate(Invalidation { hits: own, entries, step: None }).await.expect("invalidate");
    assert_eq!(since(first.clock).await.dependencies, [Dependency::entry(&id(1))]);
    assert_eq!(sorted(&since(started).await.dependencies), sorted(&[tag("a"), Dependency::entry(&id(1))]));
    let none = store.changed_since(started, &[]).await.expect("changed since");
    assert!(none.dependencies.is_empty() && none.clock > first.clock, "{none:?}");
    assert_conflicted(&commit(store, run.value("overtaken", &[direct("a")])).await, &[tag("a")]);

    let many: Vec<Dependency> = (0..12_000).map(tag).collect();
    let run = begin(store, id(2)).await;
    change(store, 11_999).await;
    let found = store.changed_since(run.begun.started, &many).await.expect("changed since");
    assert_eq!(found.dependencies, [tag(11_999)]);
}

/// What a store has forgotten may have changed at any time.
pub async fn changes_that_were_trimmed_are_named(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin(store, id(1)).await;
    change(store, "a").await;
    let given_up = Abort { id: run.id, token: run.token, failure: None, delay: Duration::ZERO };
    assert!(store.abort(given_up).await.expect("abort"));
    change(store, "b").await;
    maintain(store).await;
    let found = store.changed_since(run.begun.started, &[tag("a"), tag("b")]).await.expect("changed since");
    assert_eq!(sorted(&found.dependencies), sorted(&[tag("a"), tag("b")]));
    let begun = begin(store, id(1)).await.begun;
    assert!(store.changed_since(begun.started, &[tag("a")]).await.expect("changed since").dependencies.is_empty());
}

//! Storing.

use smache_core::{Commit, CommitOutcome, Dependency, Incarnation, Invalidation, Staleness, Used, Via};

use crate::{StoreHarness, steps::*};

/// A lease that lapsed is still good while nobody else has taken the entry.
pub async fn lapsed_lease_that_nobody_took_still_commits(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin_for(store, id(1), SHORT).await;
    harness.advance(PAUSE).await;
    assert_eq!(store.extend(&[(id(1), run.token)], SHORT).await.expect("extend"), [true]);
    harness.advance(PAUSE).await;
    assert_fresh(&commit(store, run.value("late", &[direct("a")])).await);
    assert!(is_fresh(store, id(1)).await);
}

/// A dependency that changes between begin and commit makes the stored value stale.
pub async fn change_during_the_computation_is_not_lost(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "first", &[direct("a"), direct("b")]).await;
    let run = begin(store, id(1)).await;
    change(store, "a").await;
    let outcome = commit(store, run.value("overtaken", &[direct("a"), direct("b")])).await;
    assert_conflicted(&outcome, &[tag("a")]);
    let seen = see(store, id(1)).await;
    assert_eq!((seen.text(), seen.entry.staleness), ("overtaken", Staleness::Hard));
    assert!(seen.entry.since.is_some(), "a value that is stored as stale says since when");

    let run = begin(store, id(1)).await;
    assert_eq!(run.begun.conflicts, 1, "the run was overtaken once");
    assert_fresh(&commit(store, run.value("second", &[direct("a"), direct("b")])).await);
    let seen = see(store, id(1)).await;
    assert_eq!((seen.text(), seen.is_fresh(), seen.entry.since), ("second", true, None));
    assert_eq!(begin(store, id(1)).await.begun.conflicts, 0);
}

/// A dependency that nobody had when it changed counts just the same for the run that finds it afterwards.
pub async fn dynamic_dependency_unknown_when_it_changed(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin(store, id(1)).await;
    assert_eq!(change(store, "found later").await.marked, 0);
    let used = [direct("a"), direct("found later")];
    assert_conflicted(&commit(store, run.value("overtaken", &used)).await, &[tag("found later")]);
    assert!(!is_fresh(store, id(1)).await);
}

/// Beyond the contract: what changed is named, at most eight of it, and a change through nested calls alone is soft.
pub async fn conflict_is_as_hard_as_its_hardest_dependency(harness: StoreHarness) {
    let store = &**harness.role();
    let runs =
        [begin(store, id(0)).await, begin(store, id(1)).await, begin(store, id(2)).await, begin(store, id(3)).await];
    store.invalidate(changes_of(&["a", "b"])).await.expect("invalidate");
    for number in 0..12 {
        change(store, number).await;
    }
    let used: [&[Used]; 3] = [&[child("a"), direct("quiet")], &[child("a"), direct("b")], &[child("a"), direct("a")]];
    let expected = [Staleness::Child, Staleness::Hard, Staleness::Hard];
    let changed: [&[Dependency]; 3] = [&[tag("a")], &[tag("a"), tag("b")], &[tag("a")]];
    for (((run, used), changed), expected) in runs.iter().zip(used).zip(changed).zip(expected) {
        assert_conflicted(&commit(store, run.value("overtaken", used)).await, changed);
        assert_eq!(staleness(store, run.id).await, expected);
    }
    let all: Vec<Used> = (0..12).map(direct).collect();
    match commit(store, runs[3].value("overtaken", &all)).await {
        CommitOutcome::Conflicted { dependencies, .. } => assert_eq!(dependencies.len(), 8, "{dependencies:?}"),
        outcome => panic!("stored as {outcome:?} instead of conflicted"),
    }
}

/// A value is of the epochs that its run began in, whatever they are when it is stored.
pub async fn epoch_taken_at_begin_is_compared_at_commit(harness: StoreHarness) {
    let store = &**harness.role();
    store.attach(&[source("users")]).await.expect("attach");
    let run = begin(store, id(1)).await;
    store.new_epoch().await.expect("new epoch");
    assert_conflicted(&commit(store, run.value_of("old", &[child("a")], &[source("users")])).await, &[]);
    assert_eq!((staleness(store, id(1)).await, is_fresh(store, id(1)).await), (Staleness::Hard, false));

    let leader = lead(store, "feed", LONG).await;
    let (run, other) = (begin(store, id(1)).await, begin(store, id(2)).await);
    store.restart(leader.step(store, &["users"], 1).await).await.expect("restart");
    assert_conflicted(&commit(store, run.value_of("old", &[], &[source("users")])).await, &[]);
    assert_eq!((staleness(store, id(1)).await, is_fresh(store, id(1)).await), (Staleness::Hard, false));
    assert_fresh(&commit(store, other.value("of no source", &[])).await);
}

/// A value that is stored as stale has its edges: another change reaches it.
pub async fn edges_are_written_for_stale_values_too(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin(store, id(1)).await;
    change(store, "a").await;
    assert_conflicted(&commit(store, run.value("stale", &[child("a"), direct("b")])).await, &[tag("a")]);
    assert_eq!(staleness(store, id(1)).await, Staleness::Child);
    assert_eq!(change(store, "b").await.marked, 1);
    assert_eq!(staleness(store, id(1)).await, Staleness::Hard);
    assert_eq!(change(store, "a").await.marked, 1);
}

/// A dependency that the present value does not use any more does not reach it.
pub async fn edges_no_longer_used_are_dropped(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "of a", &[direct("a"), direct("both")]).await;
    compute(store, id(1), "of b", &[direct("both"), direct("b")]).await;
    assert_eq!(change(store, "a").await.marked, 0);
    assert!(is_fresh(store, id(1)).await);
    assert_eq!(change(store, "both").await.marked, 1);
    assert_eq!(change(store, "b").await.marked, 1);
}

/// Beyond the contract: a dependency may be used directly and through a nested call; the former decides.
pub async fn dependency_used_in_both_ways_is_direct(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "one", &[child("a"), direct("a")]).await;
    compute(store, id(2), "two", &[direct("a"), child("a")]).await;
    assert_eq!(change(store, "a").await.marked, 2);
    assert_eq!((staleness(store, id(1)).await, staleness(store, id(2)).await), (Staleness::Hard, Staleness::Hard));
}

/// Beyond the contract: an entry that is invalidated itself while it is computed is stored as stale, without an edge.
pub async fn guard_is_compared_but_never_indexed(harness: StoreHarness) {
    let store = &**harness.role();
    let own = Dependency::entry(&id(1));
    compute(store, id(1), "quiet", &[guard(id(1)), direct("a")]).await;
    let record = store.inspect(&id(1)).await.expect("inspect").expect("a record");
    assert!(record.used.iter().all(|used| used.via != Via::Guard), "{:?}", record.used);
    let hits = Invalidation { hits: vec![hit(own)], ..Invalidation::default() };
    assert_eq!(store.invalidate(hits).await.expect("invalidate").marked, 0);

    let run = begin(store, id(1)).await;
    let both = Invalidation { hits: vec![hit(own)], entries: vec![id(1)], step: None };
    assert_eq!(store.invalidate(both).await.expect("invalidate").marked, 1);
    assert_conflicted(&commit(store, run.value("overtaken", &[guard(id(1)), child("a")])).await, &[own]);
    assert_eq!(staleness(store, id(1)).await, Staleness::Hard);
}

/// A run that began on another incarnation stores nothing.
pub async fn commit_on_another_incarnation_stores_nothing(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin(store, id(1)).await;
    let elsewhere = Commit { incarnation: Incarnation::new("another life"), ..run.value("elsewhere", &[direct("a")]) };
    assert_eq!(commit(store, elsewhere).await, CommitOutcome::OtherIncarnation);
    assert!(look(store, id(1)).await.is_none());
    assert_eq!(change(store, "a").await.marked, 0);
}

/// Beyond the contract: a run that could not read everything fresh stores its value as hard stale.
pub async fn tainted_value_is_never_fresh(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin(store, id(1)).await;
    let outcome = commit(store, Commit { tainted: true, ..run.value("tainted", &[child("a")]) }).await;
    assert_conflicted(&outcome, &[]);
    let seen = see(store, id(1)).await;
    assert_eq!((seen.text(), seen.entry.staleness, seen.is_fresh()), ("tainted", Staleness::Hard, false));
}

/// Beyond the contract: an entry ends when its own time is over or that of what it was made of, whichever is sooner.
pub async fn sooner_end_counts(harness: StoreHarness) {
    let store = &**harness.role();
    let (early, late) = (SHORT, LONG);
    let run = begin(store, id(1)).await;
    let not_after = Some(run.begun.now.after(early));
    commit(store, Commit { ttl: Some(late), not_after, ..run.value("made of something short", &[]) }).await;
    assert_eq!(see(store, id(1)).await.entry.expires, not_after);
    let run = begin(store, id(2)).await;
    let not_after = Some(run.begun.now.after(late + late));
    commit(store, Commit { ttl: Some(late), not_after, ..run.value("short itself", &[]) }).await;
    let seen = see(store, id(2)).await.entry;
    assert_eq!(seen.expires, Some(seen.stored_at.after(late)));
    compute(store, id(1), "without an end", &[]).await;
    assert_eq!(see(store, id(1)).await.entry.expires, None);
}

/// Beyond the contract: while an entry stays stale it keeps the time since when.
pub async fn stale_since_is_the_first_change(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "one", &[direct("a")]).await;
    change(store, "a").await;
    let since = see(store, id(1)).await.entry.since.expect("it is stale");
    harness.advance(PAUSE).await;
    change(store, "a").await;
    assert_eq!(see(store, id(1)).await.entry.since, Some(since));
    let run = begin(store, id(1)).await;
    change(store, "a").await;
    assert_conflicted(&commit(store, run.value("overtaken", &[direct("a")])).await, &[tag("a")]);
    assert_eq!(see(store, id(1)).await.entry.since, Some(since));
}

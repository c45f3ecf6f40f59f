//! Storing.

use smache_core::{
    Commit, CommitOutcome, Dependency, ErrorKind, Incarnation, Invalidation, OnConflict, Staleness, UsedDependency, Via,
};

use crate::{StoreHarness, steps::*};

/// A lease that lapsed is still good while no other run has taken the entry.
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
    assert_eq!((seen.text(), seen.entry.staleness), ("overtaken", Staleness::Stale));
    assert!(seen.entry.since.is_some(), "a value that is stored as stale says since when");

    let run = begin(store, id(1)).await;
    assert_eq!(run.begun.conflicts, 1, "the run was overtaken once");
    assert_fresh(&commit(store, run.value("second", &[direct("a"), direct("b")])).await);
    let seen = see(store, id(1)).await;
    assert_eq!((seen.text(), seen.is_fresh(), seen.entry.since), ("second", true, None));
    assert_eq!(begin(store, id(1)).await.begun.conflicts, 0);
}

/// A dependency without dependants that changed conflicts too with the run that finds it afterwards.
pub async fn dynamic_dependency_unknown_when_it_changed(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin(store, id(1)).await;
    assert_eq!(change(store, "found later").await.marked, 0);
    let used = [direct("a"), direct("found later")];
    assert_conflicted(&commit(store, run.value("overtaken", &used)).await, &[tag("found later")]);
    assert!(!is_fresh(store, id(1)).await);
}

/// A run that asks gets a report of every conflict, and goes on. A dependency that it has re-read is no conflict at its
/// next commit; a change after the answer is.
pub async fn overtaken_run_is_told_what_changed_and_goes_on(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "old", &[direct("a")]).await;
    for again in [false, true] {
        let run = begin(store, id(1)).await;
        change(store, "a").await;
        change(store, "unused").await;
        let own = vec![change_of(Dependency::entry(&id(1)))];
        let entries = vec![id(1)];
        store.invalidate(Invalidation { changed: own, entries, step: None }).await.expect("invalidate");
        let used = [direct("a"), child("b"), direct("c"), guard(id(1))];
        let asking = Commit { on_conflict: OnConflict::Report, ..run.value("seen", &used) };
        let mut version = 0;
        // Asked twice, as where the first answer is lost.
        for _ in 0..2 {
            let outcome = commit(store, asking.clone()).await;
            let CommitOutcome::ConflictReported { revision, dependencies, .. } = outcome else { panic!("{outcome:?}") };
            assert_eq!(sorted(&dependencies), sorted(&[tag("a"), Dependency::entry(&id(1))]));
            version = revision;
        }
        assert!(version > run.begun.start_revision, "{version}");
        assert_eq!(see(store, id(1)).await.text(), if again { "seen" } else { "old" }, "nothing is stored");
        try_begin(store, id(1), LONG).await.map(drop).expect_err("the run goes on");
        assert_eq!(store.extend(&[(id(1), run.token)], LONG).await.expect("extend"), [true]);
        store.maintain(100).await.expect("maintain");
        let seen = Commit { version, ..asking };
        if again {
            change(store, "c").await;
            let outcome = commit(store, Commit { on_conflict: OnConflict::StoreStale, ..seen }).await;
            assert_conflicted(&outcome, &[tag("c")]);
            assert!(!is_fresh(store, id(1)).await);
        } else {
            assert_fresh(&commit(store, seen).await);
            let seen = see(store, id(1)).await;
            assert_eq!((seen.text(), seen.is_fresh(), seen.entry.version), ("seen", true, version));
            change(store, "b").await;
            assert!(!is_fresh(store, id(1)).await, "it has its edges");
        }
    }
}

/// A run may show that a reported dependency is no conflict. Where anything else speaks against the value, the store
/// keeps it as stale, also for a run that asks.
pub async fn value_that_more_speaks_against_is_stored_as_stale(harness: StoreHarness) {
    let store = &**harness.role();
    let asking = |value: Commit| Commit { on_conflict: OnConflict::Report, ..value };
    let run = begin(store, id(1)).await;
    change(store, "a").await;
    let tainted = Commit { tainted: true, ..run.value("tainted", &[direct("a")]) };
    assert_conflicted(&commit(store, asking(tainted)).await, &[tag("a")]);

    let run = begin(store, id(2)).await;
    change(store, "a").await;
    store.new_epoch().await.expect("new epoch");
    let outcome = commit(store, asking(run.value("old epoch", &[direct("a")]))).await;
    assert!(matches!(outcome, CommitOutcome::Conflicted { .. }), "{outcome:?}");

    for (entry, many) in [(3, OnConflict::MAX_REPORTED), (4, OnConflict::MAX_REPORTED + 1)] {
        let run = begin(store, id(entry)).await;
        let names: Vec<String> = (0..many).map(|number| format!("many {number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        store.invalidate(changes_of(&names)).await.expect("invalidate");
        let used: Vec<UsedDependency> = names.iter().map(|name| direct(*name)).collect();
        match commit(store, asking(run.value("many", &used))).await {
            CommitOutcome::ConflictReported { dependencies, .. } => assert_eq!(dependencies.len(), many),
            outcome => {
                assert!(matches!(outcome, CommitOutcome::Conflicted { .. }), "{outcome:?}");
                assert_eq!(entry, 4, "few enough to be told");
                assert!(!is_fresh(store, id(4)).await);
            }
        }
    }
    let run = begin(store, id(5)).await;
    assert_fresh(&commit(store, asking(run.value("undisturbed", &[direct("a")]))).await);
}

/// A value is compared with the changes after its version, and is of that version.
pub async fn value_is_compared_and_stored_with_its_version(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin(store, id(1)).await;
    let version = change(store, "a").await.revision;
    assert_fresh(&commit(store, Commit { version, ..run.value("seen", &[direct("a")]) }).await);
    assert_eq!(see(store, id(1)).await.entry.version, version);
    let run = begin(store, id(1)).await;
    let version = change(store, "a").await.revision;
    change(store, "b").await;
    let outcome = commit(store, Commit { version, ..run.value("half", &[direct("a"), direct("b")]) }).await;
    assert_conflicted(&outcome, &[tag("b")]);
    assert_eq!(see(store, id(1)).await.entry.version, version);
}

/// Beyond the contract: a conflict names the changed dependencies, at most eight, and a change through nested calls
/// alone is soft.
pub async fn conflict_is_as_stale_as_its_most_direct_dependency(harness: StoreHarness) {
    let store = &**harness.role();
    let runs =
        [begin(store, id(0)).await, begin(store, id(1)).await, begin(store, id(2)).await, begin(store, id(3)).await];
    store.invalidate(changes_of(&["a", "b"])).await.expect("invalidate");
    for number in 0..12 {
        change(store, number).await;
    }
    let used: [&[UsedDependency]; 3] =
        [&[child("a"), direct("quiet")], &[child("a"), direct("b")], &[child("a"), direct("a")]];
    let expected = [Staleness::MaybeStale, Staleness::Stale, Staleness::Stale];
    let changed: [&[Dependency]; 3] = [&[tag("a")], &[tag("a"), tag("b")], &[tag("a")]];
    for (((run, used), changed), expected) in runs.iter().zip(used).zip(changed).zip(expected) {
        assert_conflicted(&commit(store, run.value("overtaken", used)).await, changed);
        assert_eq!(staleness(store, run.id).await, expected);
    }
    let all: Vec<UsedDependency> = (0..12).map(direct).collect();
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
    assert_eq!((staleness(store, id(1)).await, is_fresh(store, id(1)).await), (Staleness::Stale, false));

    let leader = lead(store, "feed", LONG).await;
    let run = begin(store, id(1)).await;
    let other = begin(store, id(2)).await;
    store.restart(leader.step(store, &["users"], 1).await).await.expect("restart");
    assert_conflicted(&commit(store, run.value_of("old", &[], &[source("users")])).await, &[]);
    assert_eq!((staleness(store, id(1)).await, is_fresh(store, id(1)).await), (Staleness::Stale, false));
    assert_fresh(&commit(store, other.value("of no source", &[])).await);
}

/// A value that is stored as stale has its edges: another change reaches it.
pub async fn edges_are_written_for_stale_values_too(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin(store, id(1)).await;
    change(store, "a").await;
    assert_conflicted(&commit(store, run.value("stale", &[child("a"), direct("b")])).await, &[tag("a")]);
    assert_eq!(staleness(store, id(1)).await, Staleness::MaybeStale);
    assert_eq!(change(store, "b").await.marked, 1);
    assert_eq!(staleness(store, id(1)).await, Staleness::Stale);
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
    assert_eq!((staleness(store, id(1)).await, staleness(store, id(2)).await), (Staleness::Stale, Staleness::Stale));
}

/// Beyond the contract: an entry that is invalidated itself while it is computed is stored as stale, without an edge.
pub async fn guard_is_compared_but_never_indexed(harness: StoreHarness) {
    let store = &**harness.role();
    let own = Dependency::entry(&id(1));
    compute(store, id(1), "quiet", &[guard(id(1)), direct("a")]).await;
    let record = store.inspect(&id(1)).await.expect("inspect").expect("a record");
    assert!(record.used.iter().all(|used| used.via != Via::Guard), "{:?}", record.used);
    let changed = Invalidation { changed: vec![change_of(own)], ..Invalidation::default() };
    assert_eq!(store.invalidate(changed).await.expect("invalidate").marked, 0);

    let run = begin(store, id(1)).await;
    let both = Invalidation { changed: vec![change_of(own)], entries: vec![id(1)], step: None };
    assert_eq!(store.invalidate(both).await.expect("invalidate").marked, 1);
    assert_conflicted(&commit(store, run.value("overtaken", &[guard(id(1)), child("a")])).await, &[own]);
    assert_eq!(staleness(store, id(1)).await, Staleness::Stale);
}

/// A run that began on another incarnation stores nothing.
pub async fn commit_on_another_incarnation_stores_nothing(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin(store, id(1)).await;
    let elsewhere =
        Commit { incarnation: Incarnation::new("another incarnation"), ..run.value("elsewhere", &[direct("a")]) };
    assert_eq!(commit(store, elsewhere).await, CommitOutcome::OtherIncarnation);
    assert!(look(store, id(1)).await.is_none());
    assert_eq!(change(store, "a").await.marked, 0);
}

/// A value with very many dependencies is stored with all of its edges, or refused without a trace.
pub async fn ten_thousand_dependencies_fit_or_are_refused(harness: StoreHarness) {
    let store = &**harness.role();
    let many = harness.many();
    let last = many - 1;
    let used = |kind: &str| (0..many).map(|number| direct(format!("{kind} {number}"))).collect::<Vec<_>>();
    let run = begin(store, id(1)).await;
    match store.commit(run.value("many", &used("one"))).await {
        Ok(outcome) => {
            assert_fresh(&outcome);
            let record = store.inspect(&id(1)).await.expect("inspect").expect("a record");
            assert_eq!(record.used.len(), many as usize);
            assert_eq!(
                (change(store, "one 0").await.marked, change(store, format!("one {last}")).await.marked),
                (1, 1)
            );
            compute(store, id(1), "as many others", &used("another")).await;
            assert_eq!(
                (change(store, "one 0").await.marked, change(store, format!("another {last}")).await.marked),
                (0, 1)
            );
            assert!(store.remove(&id(1), None).await.expect("remove"));
            assert_eq!(change(store, format!("another {}", many / 2)).await.marked, 0);
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
            assert!(look(store, id(1)).await.is_none());
            assert_fresh(&commit(store, run.value("few", &used("one")[..10])).await);
            assert_eq!((change(store, "one 9").await.marked, change(store, "one 10").await.marked), (1, 0));
        }
    }
}

/// Beyond the contract: a run that could not read everything fresh stores its value as stale.
pub async fn tainted_value_is_never_fresh(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin(store, id(1)).await;
    let outcome = commit(store, Commit { tainted: true, ..run.value("tainted", &[child("a")]) }).await;
    assert_conflicted(&outcome, &[]);
    let seen = see(store, id(1)).await;
    assert_eq!((seen.text(), seen.entry.staleness, seen.is_fresh()), ("tainted", Staleness::Stale, false));
}

/// Beyond the contract: an entry ends when its own time or that of an entry that it used is over, whichever is sooner.
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

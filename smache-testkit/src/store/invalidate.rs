//! Changes.

use std::sync::Arc;

use smache_core::{Commit, Dependency, Invalidation, JobWrites, Staleness, UsedDependency, Via};

use crate::{StoreHarness, steps::*};

/// Every dependant goes stale before the change is acknowledged, and no other entry does.
pub async fn dependants_go_stale(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "one", &[direct("a")]).await;
    compute(store, id(2), "two", &[direct("b"), child("a")]).await;
    compute(store, id(3), "three", &[direct("b")]).await;
    let invalidated = change(store, "a").await;
    assert_eq!(invalidated.marked, 2);
    let fresh = [is_fresh(store, id(1)).await, is_fresh(store, id(2)).await, is_fresh(store, id(3)).await];
    assert_eq!(fresh, [false, false, true]);
    assert_eq!(see(store, id(1)).await.text(), "one", "the value stays readable");

    let several = store.invalidate(changes_of(&["b", "unused", "a"])).await.expect("invalidate");
    assert!(several.revision > invalidated.revision, "the revision grows with every change");
    assert!(!is_fresh(store, id(3)).await);
    assert_eq!(store.stats().await.expect("stats").stale, 3);
}

/// A direct dependency makes stale, one through a nested call does not; the more direct one stays.
pub async fn staleness_follows_the_edge(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "one", &[child("a"), direct("b")]).await;
    change(store, "a").await;
    assert_eq!(staleness(store, id(1)).await, Staleness::MaybeStale);
    change(store, "b").await;
    assert_eq!(staleness(store, id(1)).await, Staleness::Stale);
    change(store, "a").await;
    assert_eq!(staleness(store, id(1)).await, Staleness::Stale);
}

/// A stale entry is invalidated like all others: its causes grow, and a run that is under way is overtaken.
pub async fn stale_entry_is_invalidated_again(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "one", &[direct("a"), direct("b")]).await;
    change(store, "a").await;
    let run = begin(store, id(1)).await;
    assert_eq!(change(store, "b").await.marked, 1);
    assert_eq!(change(store, "b").await.marked, 1);
    let record = store.inspect(&id(1)).await.expect("inspect").expect("a record");
    let causes: Vec<&str> = record.causes.iter().map(AsRef::as_ref).collect();
    assert_eq!(causes, [&*change_of(tag("a")).cause, &*change_of(tag("b")).cause]);
    assert_conflicted(&commit(store, run.value("overtaken", &[direct("a"), direct("b")])).await, &[tag("b")]);
    compute(store, id(1), "two", &[direct("a"), direct("b")]).await;
    let record = store.inspect(&id(1)).await.expect("inspect").expect("a record");
    assert!(record.causes.is_empty(), "{:?}", record.causes);
}

/// Beyond the contract: the causes of an entry are the newest eight, each of at most 200 bytes.
pub async fn causes_are_bounded(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "one", &[direct("a")]).await;
    for number in 0..20 {
        let cause = format!("{number} {}", "ä".repeat(200)).into();
        let changed = vec![smache_core::ChangedDependency { dependency: tag("a"), cause }];
        store.invalidate(Invalidation { changed, ..Invalidation::default() }).await.expect("invalidate");
    }
    let causes = store.inspect(&id(1)).await.expect("inspect").expect("a record").causes;
    assert_eq!(causes.len(), 8);
    assert!(causes.iter().all(|cause| cause.len() <= 200), "{causes:?}");
    assert!(causes.first().is_some_and(|cause| cause.starts_with("12 ")), "{causes:?}");
    assert!(causes.last().is_some_and(|cause| cause.starts_with("19 ")), "{causes:?}");
}

/// Beyond the contract: an entry that is named goes stale without any edge.
pub async fn named_entry_goes_stale(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "one", &[child("a")]).await;
    compute(store, id(2), "two", &[child("a")]).await;
    let changed = vec![change_of(Dependency::entry(&id(1)))];
    let named = Invalidation { changed, entries: vec![id(1), id(7)], step: None };
    assert_eq!(store.invalidate(named).await.expect("invalidate").marked, 1);
    assert_eq!((staleness(store, id(1)).await, staleness(store, id(2)).await), (Staleness::Stale, Staleness::Fresh));
}

/// Beyond the contract: an invalidation of nothing does nothing and does not raise the revision.
pub async fn nothing_changes_nothing(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "one", &[direct("a")]).await;
    let revision = change(store, "a").await.revision;
    let nothing = store.invalidate(Invalidation::default()).await.expect("invalidate");
    assert_eq!((nothing.revision, nothing.marked, nothing.jobs), (revision, 0, Vec::new()));
    let leader = confirming(store, "feed", &["users"]).await;
    // A restart has raised it.
    let revision = store.stats().await.expect("stats").revision;
    let step = leader.step(store, &["users"], 2).await;
    assert_eq!(save(store, step).await.revision, revision);
    assert_eq!(store.stats().await.expect("stats").revision, revision);
}

/// Beyond the contract: with [`JobWrites::Reported`] the store returns every entry that needs a job, and with
/// [`JobWrites::SameStep`] none, since it has written them.
pub async fn entries_that_need_a_job_are_reported(harness: StoreHarness) {
    let store = &**harness.role();
    let expect = |ids: &[smache_core::EntryId]| match store.job_writes() {
        JobWrites::Reported => ids.to_vec(),
        JobWrites::SameStep => Vec::new(),
    };
    compute(store, id(1), "direct", &[direct("a")]).await;
    compute(store, id(2), "nested", &[child("a")]).await;
    let run = begin(store, id(3)).await;
    commit(store, Commit { lazy: true, ..run.value("lazy", &[direct("a")]) }).await;
    compute(store, id(4), "another", &[direct("b")]).await;
    for _ in 0..2 {
        let invalidated = change(store, "a").await;
        assert_eq!(invalidated.marked, 3);
        assert_eq!(sorted(&invalidated.jobs), expect(&[id(1), id(2)]), "those that are stale already included");
    }
    let both = store.invalidate(changes_of(&["a", "b", "a"])).await.expect("invalidate");
    let mut jobs = sorted(&both.jobs);
    jobs.dedup();
    assert_eq!(jobs, expect(&[id(1), id(2), id(4)]));

    for (number, used) in [(1, direct("a")), (2, child("a")), (4, direct("b"))] {
        compute(store, id(number), "again", &[used]).await;
    }
    store.new_epoch().await.expect("new epoch");
    compute(store, id(5), "of the new epoch", &[]).await;
    let mut jobs = sorted(&maintain(store).await);
    jobs.dedup();
    assert_eq!(jobs, expect(&[id(1), id(2), id(4)]), "entries of an old epoch");
}

/// Ten thousand dependants go stale, and all of them need a job.
pub async fn many_dependants_go_stale_in_pages(harness: StoreHarness) {
    let store = harness.role();
    let number = harness.many();
    let many = ids(0..number);
    compute_many(store, &many, &[direct("a")]).await;
    compute(&**store, id(number), "another", &[direct("b")]).await;
    let invalidated = change(&**store, "a").await;
    assert_eq!(invalidated.marked, u64::from(number));
    if store.job_writes() == JobWrites::Reported {
        assert_eq!(sorted(&invalidated.jobs), many);
    }
    for chunk in many.chunks(1_000) {
        let lookup = store.lookup(chunk).await.expect("lookup");
        let stale = lookup.entries.iter().flatten().filter(|entry| entry.staleness == Staleness::Stale).count();
        assert_eq!(stale, chunk.len());
    }
    assert!(is_fresh(&**store, id(number)).await);
    assert_eq!(store.stats().await.expect("stats").stale, u64::from(number));
    let mut listed: Vec<_> = stale(&**store, 700).await.into_iter().map(|(id, _)| id).collect();
    listed.sort();
    listed.dedup();
    assert_eq!(listed, many);

    // The invalidation has returned and ended its mark: a new run is not disturbed.
    compute(&**store, id(0), "new", &[direct("a")]).await;
    assert!(is_fresh(&**store, id(0)).await);
}

/// A leader drops its first attempt at a change in the middle of the walk, and makes its second one while maintenance
/// redoes the first: all commits meanwhile meet the mark of the second, also behind the pages that it has walked. The
/// redo of maintenance, for an author that is only late, ends nothing too early either.
pub async fn attempt_that_is_given_up_ends_no_other(harness: StoreHarness) {
    let store = harness.role();
    let many = harness.many().div_ceil(4);
    let callees = ids(0..many);
    compute_many(store, &callees, &[direct("a")]).await;
    let leader = confirming(&**store, "feed", &["users"]).await;
    let step = leader.step(&**store, &["users"], 2).await;
    let attempt = || {
        let store = Arc::clone(store);
        let batch = Invalidation { step: Some(step.clone()), ..changes_of(&["a"]) };
        tokio::spawn(async move { store.invalidate(batch).await })
    };
    let first = attempt();
    while !first.is_finished() && store.stats().await.expect("stats").stale == 0 {}
    first.abort();

    let second = attempt();
    let mut of_old_callees = Vec::new();
    for number in 0.. {
        let parent = id(many + number);
        let callee = callees[(number as usize * 7_919) % callees.len()];
        let run = begin(&**store, parent).await;
        let of_old = is_fresh(&**store, callee).await;
        let used = [child("a"), UsedDependency { dependency: Dependency::entry(&callee), via: Via::Child }];
        commit(&**store, run.value("made of a callee", &used)).await;
        if of_old {
            of_old_callees.push(parent);
        }
        if matches!(number, 3 | 9) {
            harness.pass_deadlines().await;
        }
        if number % 4 == 3 {
            store.maintain(100).await.expect("maintain");
        }
        if second.is_finished() {
            break;
        }
    }
    second.await.expect("no panic").expect("the second attempt comes to its end");
    for parent in of_old_callees {
        assert!(
            !is_fresh(&**store, parent).await,
            "{parent} is of a value from before the change, which is acknowledged"
        );
    }
    for callee in callees {
        assert!(!is_fresh(&**store, callee).await, "{callee} is from before the change");
    }
    compute(&**store, id(0), "new", &[direct("a")]).await;
    assert!(is_fresh(&**store, id(0)).await, "nothing is left of either attempt");
}

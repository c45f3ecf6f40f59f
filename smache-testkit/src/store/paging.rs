//! Invalidations that take several steps. A store that does each in one step passes them at once.

use std::{sync::Arc, time::Instant};

use smache_core::{
    CacheStore, Commit, CommitOutcome, Dependency, EntryId, ErrorKind, FeedStep, Invalidation, Leadership, OnConflict,
    Staleness, Token, support::limits::MARK_LIFETIME,
};

use crate::{StoreHarness, steps::*};

/// How often the attempts of a case are polled before they are dropped: further and further.
fn polls() -> impl Iterator<Item = usize> {
    std::iter::successors(Some(1), |polls| Some(polls + polls / 4 + 1)).take_while(|polls| *polls < 1_000_000)
}

/// Some pages of entries that use one tag.
async fn pages(harness: &StoreHarness) -> Vec<EntryId> {
    let callees = ids(0..harness.many().div_ceil(4));
    compute_many(harness.role(), &callees, &[direct("a")]).await;
    callees
}

/// How many of some entries are stale.
async fn stale_of(store: &dyn CacheStore, ids: &[EntryId]) -> usize {
    let mut stale = 0;
    for chunk in ids.chunks(500) {
        let lookup = store.lookup(chunk).await.expect("lookup");
        stale += lookup.entries.iter().flatten().filter(|entry| entry.staleness != Staleness::Fresh).count();
    }
    stale
}

/// Stops an invalidation in the middle of its walk over some fresh entries. `false` if it cannot be stopped there: it
/// came to its end, or near it.
pub(crate) async fn stop_half_way(store: &dyn CacheStore, ids: &[EntryId], invalidation: &Invalidation) -> bool {
    for times in polls() {
        let done = polled(store.invalidate(invalidation.clone()), times).await;
        let stale = stale_of(store, ids).await;
        if done.is_some() || stale > 0 {
            // On a server the page that was under way goes on without its client: it must not be the last one.
            return done.is_none() && stale <= ids.len() / 2;
        }
    }
    panic!("the invalidation comes to no end");
}

/// The outcome of a run that uses a tag and began before now.
async fn outcome_of(store: &dyn CacheStore, run: &Run, name: &str) -> CommitOutcome {
    commit(store, run.value("made of old data", &[child(name)])).await
}

/// Whether the source of the feed has caught up.
async fn confirmed(store: &dyn CacheStore) -> bool {
    let validity = store.lookup(&[]).await.expect("lookup").validity;
    validity.sources[&source("users")].caught_up_on.is_some()
}

/// An invalidation of several steps saves the positions of its feed, and confirms its sources, with the last step: an
/// attempt that is dropped before has saved nothing, wherever it was.
pub async fn position_is_saved_with_the_last_step(harness: StoreHarness) {
    let store = &**harness.role();
    let leader = lead(store, "feed", LONG).await;
    store.restart(leader.step(store, &["users"], 1).await).await.expect("restart");
    let callees = pages(&harness).await;
    for (number, times) in (2..).zip(polls()) {
        let step = FeedStep { valid_for: Some(LONG), caught_up: true, ..leader.step(store, &["users"], number).await };
        let attempt = store.invalidate(Invalidation { step: Some(step), ..changes_of(&["a"]) });
        let done = polled(attempt, times).await;
        // On a server the attempts go on without their client, and each may end between two looks.
        let was_confirmed = confirmed(store).await;
        let is_saved = saved(store, "users").await != Some(position(1));
        assert!(is_saved || !was_confirmed, "the source is confirmed before its position is saved");
        assert!(!is_saved || confirmed(store).await, "the position is saved before its source is confirmed");
        if let Some(done) = done {
            done.expect("invalidate");
            assert!(is_saved, "the attempt came to its end");
        }
        if is_saved {
            // Maybe without an answer: the next attempt would find its source confirmed by this one.
            assert_eq!(
                stale_of(store, &callees).await,
                callees.len(),
                "dropped after {times} polls: the position is saved"
            );
            return;
        }
    }
    panic!("the invalidation comes to no end");
}

/// While an invalidation of several steps is under way, and after its author died, no run that uses what it changes
/// stores a fresh value, and begin says so. Runs that use something else are not disturbed. Invalidations of others
/// change nothing about that; maintenance redoes it when its deadline is past, and not before.
pub async fn change_under_way_is_a_conflict_until_it_is_done(harness: StoreHarness) {
    let store = &**harness.role();
    let callees = pages(&harness).await;
    let [before, report, parent, other] = [0, 1, 2, 3].map(|number| id(1_000_000 + number));
    compute(store, parent, "parent", &[child("a")]).await;
    let before = begin(store, before).await;
    if !stop_half_way(store, &callees, &changes_of(&["a"])).await {
        return;
    }
    let stopped = Instant::now();
    assert_conflicted(&outcome_of(store, &before, "a").await, &[tag("a")]);
    for again in [false, true] {
        let run = begin(store, parent).await;
        assert!(run.begun.pending, "{again}: it would conflict: better wait");
        assert_conflicted(&outcome_of(store, &run, "a").await, &[tag("a")]);
        let run = begin(store, report).await;
        let since = store.changed_since(run.begun.start_revision, &[tag("a"), tag("b")]).await.expect("changed since");
        assert_eq!(since.dependencies, [tag("a")]);
        let asking = Commit { on_conflict: OnConflict::Report, ..run.value("made of old data", &[direct("a")]) };
        let outcome = commit(store, asking).await;
        let CommitOutcome::ConflictReported { dependencies, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(dependencies, [tag("a")]);
        store.remove(&report, Some(run.token)).await.expect("remove");

        let run = begin(store, other).await;
        assert!(!run.begun.pending);
        assert_fresh(&commit(store, run.value("of something else", &[direct("b")])).await);
        // Others change the same, and come to their end.
        let leader = confirming(store, &format!("feed-{again}"), &["users"]).await;
        let step = Some(leader.step(store, &["users"], 2).await);
        store.invalidate(Invalidation { step, ..changes_of(&["a"]) }).await.expect("invalidate");
        change(store, "a").await;
        let maintained = store.maintain(100).await.expect("maintain");
        if stopped.elapsed() > MARK_LIFETIME / 2 {
            // On a very slow machine the deadline is past by itself.
            return;
        }
        assert_eq!(maintained.redone, 0, "its author has time");
    }
    let run = begin(store, parent).await;
    assert!(run.begun.pending, "the invalidation of the dead author is not done");
    assert_conflicted(&outcome_of(store, &run, "a").await, &[tag("a")]);

    if !harness.pass_deadlines().await {
        return;
    }
    redo(store, 1).await;
    assert_eq!(stale_of(store, &callees).await, callees.len());
    for callee in [callees[0], callees[callees.len() - 1], parent] {
        let run = begin(store, callee).await;
        assert!(!run.begun.pending, "it is done");
        assert_fresh(&commit(store, run.value("new", &[child("a")])).await);
    }
    redo(store, 0).await;
}

/// Maintenance to its end redoes at least so many invalidations, or none.
async fn redo(store: &dyn CacheStore, at_least: u64) {
    let mut redone = 0;
    for _ in 0..1_000 {
        let maintained = store.maintain(100).await.expect("maintain");
        redone += maintained.redone;
        if !maintained.more {
            assert!(redone >= at_least && (at_least > 0 || redone == 0), "{redone} invalidations were redone");
            return;
        }
    }
    panic!("maintenance never ends");
}

/// An invalidation whose author died is redone as a whole: every dependant is stale, as its edge says, and needs a job.
pub async fn unfinished_invalidation_is_redone(harness: StoreHarness) {
    let store = &**harness.role();
    let callees = pages(&harness).await;
    let nested = ids(2_000_000..2_000_010);
    compute_many(harness.role(), &nested, &[child("a")]).await;
    compute(store, id(3_000_000), "of something else", &[direct("b")]).await;
    if !stop_half_way(store, &callees, &changes_of(&["a"])).await || !harness.pass_deadlines().await {
        return;
    }
    let jobs = maintain(store).await;
    assert_eq!(stale_of(store, &callees).await, callees.len());
    for nested in &nested {
        assert_eq!(staleness(store, *nested).await, Staleness::MaybeStale);
    }
    assert!(is_fresh(store, id(3_000_000)).await, "nothing else was affected");
    if store.job_writes() == smache_core::JobWrites::Reported {
        let mut jobs = sorted(&jobs);
        jobs.dedup();
        assert_eq!(jobs, sorted(&[callees, nested].concat()));
    }
}

/// An attempt of a feed that comes to its end ends the earlier ones of the same feed on what it has changed, also those
/// of an earlier leader, and none of another feed.
pub async fn later_attempt_of_a_feed_ends_the_earlier_ones(harness: StoreHarness) {
    let store = &**harness.role();
    let callees = pages(&harness).await;
    let one = confirming(store, "feed", &["users"]).await;
    let batch = async |leader: &Leader, number| Invalidation {
        step: Some(leader.step(store, &["users"], number).await),
        ..changes_of(&["a"])
    };
    if !stop_half_way(store, &callees, &batch(&one, 2).await).await {
        return;
    }
    for times in [1, 2, 3, 5, 8] {
        let _ = polled(store.invalidate(batch(&one, 2).await), times).await;
    }
    store.resign(&one.feed, one.fence).await.expect("resign");
    let two = lead(store, "feed", LONG).await;
    let _ = polled(store.invalidate(batch(&two, 2).await), 3).await;
    store.invalidate(batch(&two, 3).await).await.expect("invalidate");
    assert_eq!(saved(store, "users").await, Some(position(3)));
    assert_eq!(stale_of(store, &callees).await, callees.len());
    let run = begin(store, callees[0]).await;
    assert!(!run.begun.pending, "nothing is left of the earlier attempts");
    assert_fresh(&commit(store, run.value("new", &[direct("a")])).await);

    let more = ids(1_000_000..1_000_000 + u32::try_from(callees.len()).expect("some pages"));
    compute_many(harness.role(), &more, &[direct("c")]).await;
    let other = confirming(store, "another-feed", &["orders"]).await;
    let step = Some(other.step(store, &["orders"], 2).await);
    if stop_half_way(store, &more, &Invalidation { step, ..changes_of(&["c"]) }).await {
        let step = Some(two.step(store, &["users"], 4).await);
        store.invalidate(Invalidation { step, ..changes_of(&["c"]) }).await.expect("invalidate");
        let run = begin(store, more[0]).await;
        assert_conflicted(&outcome_of(store, &run, "c").await, &[tag("c")]);
    }
}

/// Maintenance that redoes an attempt past its deadline ends that one, and not a later one, which is in its walk.
pub async fn redo_ends_no_later_attempt(harness: StoreHarness) {
    let store = &**harness.role();
    let callees = pages(&harness).await;
    if !stop_half_way(store, &callees, &changes_of(&["a"])).await || !harness.pass_deadlines().await {
        return;
    }
    let rest: Vec<EntryId> = {
        let lookup = store.lookup(&callees).await.expect("lookup");
        let fresh = |entry: &Option<smache_core::StoredEntry>| {
            entry.as_ref().is_some_and(|entry| entry.staleness == Staleness::Fresh)
        };
        callees.iter().zip(&lookup.entries).filter(|(_, entry)| fresh(entry)).map(|(id, _)| *id).collect()
    };
    // Its marks are there once it has got a little further than the first attempt.
    let mut times = 1;
    let under_way = loop {
        let left = rest.len() - stale_of(store, &rest).await;
        if polled(store.invalidate(changes_of(&["a"])), times).await.is_some() {
            break false;
        }
        if rest.len() - stale_of(store, &rest).await < left {
            break true;
        }
        times += times / 4 + 1;
    };
    if !under_way {
        return;
    }
    redo(store, 1).await;
    let run = begin(store, id(1_000_000)).await;
    assert_conflicted(&outcome_of(store, &run, "a").await, &[tag("a")]);
}

/// A leader that is replaced in the middle of its walk saves no position, and the answer says that it is no leader.
pub async fn leader_replaced_in_its_walk_saves_nothing(harness: StoreHarness) {
    let store = harness.role();
    let callees = pages(&harness).await;
    let old = confirming(&**store, "feed", &["users"]).await;
    let step = Some(old.step(&**store, &["users"], 2).await);
    let walking = tokio::spawn({
        let store = Arc::clone(store);
        async move { store.invalidate(Invalidation { step, ..changes_of(&["a"]) }).await }
    });
    while !walking.is_finished() && store.stats().await.expect("stats").stale == 0 {}
    // The last step of the walk, between the two, is still one of the leader, and renews the leadership.
    let fence = loop {
        store.resign(&old.feed, old.fence).await.expect("resign");
        let follows = store.lead(&old.feed, Token::random(), LONG).await.expect("lead");
        if let Leadership::Leader { fence } = follows {
            break fence;
        }
    };
    assert!(fence > old.fence);
    let taken_over_at = saved(&**store, "users").await;
    match walking.await.expect("no panic") {
        Ok(done) => {
            assert_eq!(done.marked, callees.len() as u64);
            assert_eq!(taken_over_at, Some(position(2)), "a replaced leader came to the end of its walk");
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Fenced, "{}", error.report());
            assert_eq!(saved(&**store, "users").await, Some(position(1)));
        }
    }
    let step = Some(FeedStep { fence, ..old.step(&**store, &["users"], 3).await });
    store.invalidate(Invalidation { step, ..changes_of(&["a"]) }).await.expect("invalidate");
    assert_eq!(saved(&**store, "users").await, Some(position(3)));
    assert_eq!(stale_of(&**store, &callees).await, callees.len());
    compute(&**store, callees[0], "new", &[direct("a")]).await;
}

/// Thousands of changes and named entries are one change: every dependant and every named entry is stale, every change
/// conflicts with the runs that began before, and the position is saved.
pub async fn many_changes_and_entries_are_one_change(harness: StoreHarness) {
    let store = harness.role();
    let many = harness.many().min(1_300);
    let named = ids(1_000_000..1_000_000 + many / 2);
    for number in (0..many).step_by(10) {
        compute(&**store, id(number), "one", &[direct(number)]).await;
    }
    compute_many(store, &named, &[]).await;
    let leader = confirming(&**store, "feed", &["users"]).await;
    let places = [0, many / 3, many / 2, many - 1];
    let mut runs = Vec::new();
    for number in places {
        runs.push((begin(&**store, id(2_000_000 + number)).await, number));
    }
    let mut changed: Vec<_> = (0..many).map(|number| change_of(tag(number))).collect();
    changed.extend(named.iter().map(|id| change_of(Dependency::entry(id))));
    let step = Some(leader.step(&**store, &["users"], 2).await);
    let done = store.invalidate(Invalidation { changed, entries: named.clone(), step }).await.expect("invalidate");
    assert_eq!(done.marked, u64::from(many.div_ceil(10) + many / 2));
    assert_eq!(stale_of(&**store, &named).await, named.len());
    let last = *named.last().expect("some");
    let record = store.inspect(&last).await.expect("inspect").expect("a record");
    assert_eq!(record.causes.last(), Some(&change_of(Dependency::entry(&last)).cause));
    for number in (0..many).step_by(10) {
        assert_eq!(staleness(&**store, id(number)).await, Staleness::Stale, "entry {number}");
    }
    assert_eq!(saved(&**store, "users").await, Some(position(2)));
    for (run, number) in runs {
        assert_conflicted(&commit(&**store, run.value("overtaken", &[direct(number)])).await, &[tag(number)]);
    }
}

//! Invalidations that do not fit into one script.

use std::time::Duration;

use smache_core::{Backend, CommitOutcome, Dependency, Freshness, Invalidation, Lane, Reserve, Staleness};
use smache_testkit::{random_namespace, servers::shared_redis_url};

use crate::support::{
    ask, begin, change, child, compute, compute_many, direct, freshness, id, position, raw, shared, source, step,
};

#[tokio::test]
async fn thousands_of_changes_and_entries_are_one_change() {
    let (store, queue) = shared().await.both(&random_namespace()).expect("both");
    compute_many(&store, 0..1_300, |number| vec![direct(number)]).await;
    compute_many(&store, 2_000..2_600, |_| vec![]).await;
    let of = source("users");
    let mut first = step(&*store, &of, 1).await;
    store.restart(first.clone()).await.expect("restart");
    first.positions = vec![(of.clone(), position(2))];
    let mut all = change(0..1_300);
    all.entries = (2_000..2_600).map(id).collect();
    all.changed.extend(
        all.entries
            .iter()
            .map(|id| smache_core::ChangedDependency { dependency: Dependency::entry(id), cause: "named".into() }),
    );
    all.step = Some(first);
    let places = [0, 499, 500, 1_299];
    let mut runs = Vec::new();
    for number in places {
        runs.push(begin(&*store, id(10_000 + number)).await);
    }

    let done = store.invalidate(all).await.expect("invalidate");
    assert_eq!(done.marked, 1_900);
    assert_eq!(queue.counts().await.expect("counts").recompute, 1_900);
    assert_eq!(store.positions(std::slice::from_ref(&of)).await.expect("positions").positions, [Some(position(2))]);
    let named = store.inspect(&id(2_599)).await.expect("inspect").expect("a record");
    assert_eq!((named.entry.staleness, named.causes[0].as_ref()), (Staleness::Stale, "named"));
    // Every change is remembered, whichever set of arguments it was in.
    for (run, number) in runs.into_iter().zip(places) {
        let conflict = store.commit(run.value("value", &[direct(number)])).await.expect("commit");
        assert!(matches!(conflict, CommitOutcome::Conflicted { .. }), "{number}: {conflict:?}");
    }
    assert_eq!(store.stats().await.expect("stats").invalidations, 1_900);
}

#[tokio::test]
async fn an_announced_change_is_seen_by_runs_and_finished_by_maintenance() {
    let namespace = random_namespace();
    let (store, queue) = shared().await.both(&namespace).expect("both");
    compute(&*store, id(1), &[direct("a")]).await;
    compute(&*store, id(2), &[child("a")]).await;
    compute(&*store, id(3), &[direct("b")]).await;

    // The state after the author of an invalidation died behind its first page: an announcement.
    let announced = [tag_bytes("a").as_slice(), &[7; 16]].concat();
    let key = |name: &str| format!("{{{namespace}}}:{name}").into_bytes();
    let mut connection = raw(&shared_redis_url()).await;
    let _: () = ask(&mut connection, &[b"HSET", &key("m"), &tag_bytes("a"), &[7; 16]]).await;
    let _: () = ask(&mut connection, &[b"ZADD", &key("md"), b"99999999999999", &announced]).await;

    let run = begin(&*store, id(1)).await;
    assert!(run.begun.pending, "it would conflict: better wait");
    let outcome = store.commit(run.value("value", &[direct("a")])).await.expect("commit");
    assert!(matches!(outcome, CommitOutcome::Conflicted { .. }), "{outcome:?}");
    assert!(!begin(&*store, id(3)).await.begun.pending);
    assert_eq!(store.maintain(100).await.expect("maintain").redone, 0, "its author has time");

    let _: () = ask(&mut connection, &[b"ZADD", &key("md"), b"1", &announced]).await;
    assert_eq!(store.maintain(100).await.expect("maintain").redone, 1);
    assert_eq!(store.inspect(&id(2)).await.expect("inspect").expect("a record").entry.staleness, Staleness::MaybeStale);
    assert_eq!(queue.counts().await.expect("counts").propagation, 1);
    assert!(matches!(freshness(&*store, id(3)).await, Some(Freshness::Fresh { .. })), "nothing else was affected");
    let left: u64 = ask(&mut connection, &[b"EXISTS", &key("m"), &key("md")]).await;
    assert_eq!(left, 0, "the announcement is withdrawn");
    assert_eq!(store.maintain(100).await.expect("maintain").redone, 0);
}

#[tokio::test]
async fn a_change_is_announced_with_its_first_page() {
    for _ in 0..20 {
        let store = shared().await.store(&random_namespace()).expect("a store");
        compute_many(&store, 0..3_000, |_| vec![direct("a")]).await;
        let run = begin(&*store, id(0)).await;
        let changing = tokio::spawn({
            let store = store.clone();
            async move { store.invalidate(change(["a"])).await }
        });
        while store.stats().await.expect("stats").stale == 0 {}
        changing.abort();
        let _ = changing.await;
        if store.stats().await.expect("stats").stale == 3_000 {
            // Too fast to be stopped half-way.
            continue;
        }
        assert!(begin(&*store, id(1)).await.begun.pending);
        let outcome = store.commit(run.value("value", &[direct("a")])).await.expect("commit");
        assert!(matches!(outcome, CommitOutcome::Conflicted { .. }), "{outcome:?}");
        return;
    }
    panic!("no invalidation was caught half-way");
}

#[tokio::test]
async fn an_announcement_outlives_the_invalidations_of_others() {
    let namespace = random_namespace();
    let store = shared().await.store(&namespace).expect("a store");
    compute(&*store, id(1), &[direct("a")]).await;
    let mut connection = raw(&shared_redis_url()).await;
    let marks = format!("{{{namespace}}}:m").into_bytes();
    let _: () = ask(&mut connection, &[b"HSET", &marks, &tag_bytes("a"), &[7; 16]]).await;
    store.invalidate(change(["a"])).await.expect("invalidate");
    let left: Vec<u8> = ask(&mut connection, &[b"HGET", &marks, &tag_bytes("a")]).await;
    assert_eq!(left, [7; 16], "that one is not finished");
    assert!(begin(&*store, id(1)).await.begun.pending);
}

#[tokio::test]
async fn the_next_try_of_a_feed_withdraws_what_the_crashed_one_announced() {
    let namespace = random_namespace();
    let store = shared().await.store(&namespace).expect("a store");
    compute_many(&store, 0..700, |_| vec![direct("a")]).await;
    let of = source("users");
    let next = step(&*store, &of, 1).await;
    store.restart(next.clone()).await.expect("restart");
    let batch = || Invalidation { step: Some(next.clone()), ..change(["a"]) };
    // Dropped at some await point: the announcement may be written, and the revision may not have grown.
    for micros in [300, 1_000, 3_000] {
        let _ = tokio::time::timeout(Duration::from_micros(micros), store.invalidate(batch())).await;
    }
    store.invalidate(batch()).await.expect("invalidate");
    let mut connection = raw(&shared_redis_url()).await;
    let left: u64 = ask(&mut connection, &[b"EXISTS", format!("{{{namespace}}}:m").as_bytes()]).await;
    assert_eq!(left, 0);
    for number in 0..700 {
        assert!(matches!(freshness(&*store, id(number)).await, Some(Freshness::Stale { .. })));
    }
}

#[tokio::test]
async fn redoing_the_mark_of_a_dead_leader_leaves_the_mark_of_its_successor() {
    let namespace = random_namespace();
    let store = shared().await.store(&namespace).expect("a store");
    compute(&*store, id(1), &[direct("a")]).await;
    let of = source("users");
    let next = step(&*store, &of, 1).await;
    store.restart(next.clone()).await.expect("restart");
    let key = |name: &str| format!("{{{namespace}}}:{name}").into_bytes();
    let mut connection = raw(&shared_redis_url()).await;
    // A walk that fails in the middle: the edges of the last dependency have another type, which the server refuses.
    let broken = [key("d:").as_slice(), &tag_bytes("broken")].concat();
    let _: () = ask(&mut connection, &[b"SET", &broken, b"no hash"]).await;
    let names = || (0..600).map(|number| number.to_string()).chain(["a".to_owned(), "broken".to_owned()]);
    let batch = || Invalidation { step: Some(next.clone()), ..change(names()) };
    store.invalidate(batch()).await.expect_err("the first leader dies in its walk");
    let first: Vec<u8> = ask(&mut connection, &[b"HGET", &key("m"), &tag_bytes("a")]).await;
    store.invalidate(batch()).await.expect_err("so does the second one, later");
    let overdue = [tag_bytes("a").as_slice(), &first].concat();
    let _: () = ask(&mut connection, &[b"ZADD", &key("md"), b"1", &overdue]).await;

    assert_eq!(store.maintain(100).await.expect("maintain").redone, 1);
    let run = begin(&*store, id(2)).await;
    let outcome = store.commit(run.value("value", &[child("a")])).await.expect("commit");
    assert!(matches!(outcome, CommitOutcome::Conflicted { .. }), "the second walk is under way: {outcome:?}");

    let _: () = ask(&mut connection, &[b"DEL", &broken]).await;
    store.invalidate(batch()).await.expect("the third try comes to the end");
    let left: u64 = ask(&mut connection, &[b"EXISTS", &key("m"), &key("md")]).await;
    assert_eq!(left, 0, "with it everything that its feed announced is over");
}

#[tokio::test]
async fn a_mark_that_its_author_has_renewed_is_not_withdrawn_by_maintenance() {
    let namespace = random_namespace();
    let store = shared().await.store(&namespace).expect("a store");
    compute_many(&store, 0..3_000, |_| vec![direct("a")]).await;
    let mark = [tag_bytes("a").as_slice(), &[7; 16]].concat();
    let key = |name: &str| format!("{{{namespace}}}:{name}").into_bytes();
    let mut connection = raw(&shared_redis_url()).await;
    let _: () = ask(&mut connection, &[b"HSET", &key("m"), &tag_bytes("a"), &[7; 16]]).await;
    let _: () = ask(&mut connection, &[b"ZADD", &key("md"), b"1", &mark]).await;
    let redoing = tokio::spawn({
        let store = store.clone();
        async move { store.maintain(100).await }
    });
    // As soon as maintenance has read it: the walk has pages left.
    while store.stats().await.expect("stats").stale == 0 {}
    let _: () = ask(&mut connection, &[b"ZADD", &key("md"), b"99999999999999", &mark]).await;
    redoing.await.expect("maintenance ends").expect("maintain");
    let left: Vec<u8> = ask(&mut connection, &[b"HGET", &key("m"), &tag_bytes("a")]).await;
    assert_eq!(left, [7; 16], "its author is alive, and ends it");
}

#[tokio::test]
async fn an_entry_that_is_hit_twice_gets_the_job_of_the_more_direct_change() {
    let (store, queue) = shared().await.both(&random_namespace()).expect("both");
    compute(&*store, id(1), &[child("a"), direct("b")]).await;
    assert_eq!(store.invalidate(change(["a", "b"])).await.expect("invalidate").marked, 1);
    let reserve = |lane| Reserve::new(lane, 10, Duration::from_secs(9));
    assert!(queue.reserve(reserve(Lane::Propagation)).await.expect("reserve").jobs.is_empty());
    assert_eq!(queue.reserve(reserve(Lane::Recompute)).await.expect("reserve").jobs.len(), 1);
}

#[tokio::test]
async fn a_run_that_meets_a_long_invalidation_is_never_fresh_with_the_old_data() {
    let store = shared().await.store(&random_namespace()).expect("a store");
    compute_many(&store, 0..3_000, |_| vec![direct("a")]).await;
    let invalidating = tokio::spawn({
        let store = store.clone();
        async move {
            for _ in 0..5 {
                store.invalidate(change(["a"])).await.expect("invalidate");
            }
        }
    });
    // Runs that begin before an invalidation ends and commit after it began never miss it.
    let mut overtaken = 0;
    while !invalidating.is_finished() {
        let run = begin(&*store, id(0)).await;
        let before = store.stats().await.expect("stats").revision;
        let outcome = store.commit(run.value("value", &[direct("a")])).await.expect("commit");
        if before > run.begun.start_revision {
            overtaken += 1;
            assert!(matches!(outcome, CommitOutcome::Conflicted { .. }), "{outcome:?}");
        }
    }
    invalidating.await.expect("it is through");
    store.invalidate(change(["a"])).await.expect("invalidate");
    assert!(matches!(freshness(&*store, id(0)).await, Some(Freshness::Stale { .. })), "{overtaken} overtaken");
}

fn tag_bytes(name: &str) -> [u8; 16] {
    *crate::support::tag(name).as_bytes()
}

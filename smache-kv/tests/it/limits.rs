//! Stores that take little at once.

use std::{sync::Arc, time::Duration};

use smache_core::{
    Abort, Backend, CacheStore, Commit, Dependency, EntryId, ErrorKind, Invalidation, JobQueue, ManualClock, Namespace,
    Severity, UsedDependency, Via,
};
use smache_kv::{KvBackend, Limits};

use crate::{
    steps::{begin, change, commit, compute, id, is_fresh, value},
    tree::{Conflicts, Tree},
};

/// As many as fit into 128 writes.
const MOST: usize = 52;

fn limited(limits: Limits) -> (Tree, ManualClock, Arc<dyn CacheStore>, Arc<dyn JobQueue>) {
    let clock = ManualClock::default();
    let tree = Tree::new(clock.clone(), Conflicts::Never);
    tree.limit(limits);
    let backend = KvBackend::new(tree.clone());
    let (store, queue) = backend.both(&Namespace::new("shop").expect("a good name")).expect("it has both");
    (tree, clock, store, queue)
}

fn small() -> Limits {
    Limits::default().batch_writes(128).batch_bytes(256 << 10).value_bytes(64 << 10)
}

fn used(kind: &str, many: usize) -> Vec<UsedDependency> {
    let one = |number| UsedDependency { dependency: Dependency::tag(&format!("{kind} {number}")), via: Via::Direct };
    (0..many).map(one).collect()
}

async fn store_with(store: &dyn CacheStore, id: EntryId, used: Vec<UsedDependency>) -> smache_core::Result<()> {
    let run = begin(store, id).await;
    let token = run.0;
    let ttl = Some(Duration::from_secs(60));
    let stored = store.commit(Commit { used, ttl, ..value(id, run, "a") }).await;
    if stored.is_err() {
        let aborted = store.abort(Abort { id, token, failure: None, delay: Duration::ZERO }).await.expect("abort");
        assert!(aborted, "the run is there");
    }
    stored.map(|outcome| assert!(is_fresh(&outcome)))
}

#[tokio::test]
async fn result_that_does_not_fit_is_refused_with_the_limit_and_the_fix() {
    let (_, _, store, _) = limited(small());
    store_with(&*store, id(1), used("a", MOST)).await.expect("it fits");
    let error = store_with(&*store, id(1), used("a", MOST + 1)).await.expect_err("too many");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let text = error.to_string();
    assert!(text.contains("53 dependencies") && text.contains("`max_dependencies(52)`"), "{text}");

    let run = begin(&*store, id(2)).await;
    let large = Commit { value: vec![7; 64 << 10].into(), ..value(id(2), run, "a") };
    let error = store.commit(large).await.expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().contains("at most 65536"), "{error}");
}

/// The store panics where a batch is above its limits.
#[tokio::test]
async fn replaced_expired_and_removed_results_fit_as_they_did() {
    let (tree, clock, store, _) = limited(small());
    for number in 0..20 {
        store_with(&*store, id(number), used("a", MOST)).await.expect("it fits");
        store_with(&*store, id(number), used("b", MOST)).await.expect("so does another one in its place");
    }
    assert!(store.remove(&id(0), None).await.expect("remove"));
    clock.advance(Duration::from_secs(61));
    let mut expired = 0;
    loop {
        let done = store.maintain(1_000).await.expect("maintain");
        expired += done.expired;
        if !done.more {
            break;
        }
    }
    assert_eq!((expired, store.stats().await.expect("stats").entries), (19, 0));
    assert_eq!([b'd', b'h', b'x'].map(|role| tree.keys_of(role, b"")), [0, 0, 0]);
}

/// Each part is an invalidation; only the last one saves the position.
#[tokio::test]
async fn change_of_many_dependencies_is_cut_into_parts() {
    let (_, _, store, queue) = limited(small());
    for number in 0..100 {
        let used = used(&format!("of {number}"), 1);
        store_with(&*store, id(number), used).await.expect("it fits");
    }
    let all = (0..100).flat_map(|number| change(&format!("of {number} 0")).changed).collect();
    let entries: Vec<EntryId> = (0..10).map(id).collect();
    let done = store.invalidate(Invalidation { changed: all, entries, step: None }).await.expect("in parts");
    let stats = store.stats().await.expect("stats");
    assert_eq!((stats.stale, done.revision), (100, stats.revision));
    assert!(stats.revision > 5, "{stats:?}");
    assert_eq!(queue.counts().await.expect("counts").recompute, 100);
    assert!(is_fresh(&compute(&*store, id(1), "a").await));
}

#[tokio::test]
async fn doctor_names_limits_that_are_too_small() {
    for (limits, expected) in [
        (Limits::default(), vec![]),
        (Limits::default().batch_writes(30_000).batch_bytes(64 << 20), vec![]),
        (small(), vec![Severity::Advice, Severity::Advice]),
        (small().batch_writes(32), vec![Severity::Advice, Severity::Advice, Severity::Danger]),
    ] {
        let (_, _, store, queue) = limited(limits);
        for report in [store.examine().await, queue.examine().await] {
            let findings = report.expect("examine").findings;
            let found: Vec<_> = findings.iter().map(|finding| finding.severity).collect();
            assert_eq!(found, expected, "{findings:?}");
        }
    }
}

#[tokio::test]
async fn look_up_is_one_round_trip_and_a_run_few() {
    let (tree, _, store, _) = limited(Limits::default());
    compute(&*store, id(1), "a").await;
    let trips = || tree.used().0 + tree.used().1;
    for (name, most) in [("lookup", 1), ("read_record", 1), ("begin", 1), ("commit", 1)] {
        let before = trips();
        match name {
            "lookup" => drop(store.lookup(&[id(1), id(2)]).await.expect("look-up")),
            "read_record" => drop(store.read_record(&id(1)).await.expect("the record")),
            "begin" => drop(begin(&*store, id(1)).await),
            _ => {
                let run = begin(&*store, id(2)).await;
                let before = trips();
                commit(&*store, id(2), run, "a").await;
                assert_eq!(trips() - before, most, "{name}");
                continue;
            }
        }
        assert_eq!(trips() - before, most, "{name}");
    }
}

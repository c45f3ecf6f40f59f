//! Maintenance: no key remains, and every collection is bounded.

use std::{collections::BTreeSet, time::Duration};

use redis::aio::MultiplexedConnection;
use smache_core::{Backend, CacheStore, Commit, Namespace};
use smache_testkit::{random_namespace, servers::shared_redis_url};

use crate::support::{ask, begin, change, child, compute, compute_many, direct, id, raw, shared, until};

/// The keys of a namespace, without its prefix.
async fn keys(connection: &mut MultiplexedConnection, namespace: &Namespace) -> BTreeSet<String> {
    let pattern = format!("{{{namespace}}}:*");
    let mut cursor = "0".to_owned();
    let mut found = BTreeSet::new();
    loop {
        let (next, keys): (String, Vec<Vec<u8>>) =
            ask(connection, &[b"SCAN", cursor.as_bytes(), b"MATCH", pattern.as_bytes(), b"COUNT", b"10000"]).await;
        found.extend(keys.iter().map(|key| String::from_utf8_lossy(&key[pattern.len() - 1..]).into_owned()));
        cursor = next;
        if cursor == "0" {
            return found;
        }
    }
}

async fn maintain_until_done(store: &dyn CacheStore, limit: usize) -> u64 {
    let mut expired = 0;
    loop {
        let done = store.maintain(limit).await.expect("maintain");
        assert!(done.expired <= limit as u64);
        expired += done.expired;
        if !done.more {
            return expired;
        }
    }
}

#[tokio::test]
async fn ten_thousand_entries_that_expire_leave_only_the_bookkeeping() {
    let namespace = random_namespace();
    let (store, queue) = shared().await.both(&namespace).expect("both");
    let tasks = (0..32).map(|part| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in (part..10_000).step_by(32) {
                let run = begin(&*store, id(number)).await;
                let used = [direct(number), child(number % 100)];
                let commit = Commit { ttl: Some(Duration::from_millis(1)), ..run.value("value", &used) };
                store.commit(commit).await.expect("commit");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("entries are computed");
    }
    store.invalidate(change(0..50)).await.expect("invalidate");
    assert_eq!(store.stats().await.expect("stats").entries, 10_000);
    assert!(queue.counts().await.expect("counts").propagation > 1_000, "most have a job");

    let mut expired = 0;
    until("all have expired", async || {
        expired += maintain_until_done(&*store, 1_000).await;
        expired == 10_000
    })
    .await;
    maintain_until_done(&*store, 1_000).await;
    let stats = store.stats().await.expect("stats");
    assert_eq!((stats.entries, stats.stale, stats.running, stats.invalidations), (0, 0, 0, 0));
    // The epochs, the revision, and the last lines of the queue.
    let mut connection = raw(&shared_redis_url()).await;
    let left = keys(&mut connection, &namespace).await;
    let fixed = ["c", "q:p:0", "q:p:1", "v"].map(str::to_owned);
    assert!(left.iter().all(|key| fixed.contains(key)), "{left:?}");
}

#[tokio::test]
async fn remembered_invalidations_are_bounded_without_any_maintenance() {
    let store = shared().await.store(&random_namespace()).expect("a store");
    compute(&*store, id(1), &[direct(1)]).await;
    for first in (0..14_000).step_by(500) {
        store.invalidate(change(first..first + 500)).await.expect("invalidate");
    }
    assert!(store.stats().await.expect("stats").invalidations <= 10_500);

    // A run pins the revisions that it compares with.
    let run = begin(&*store, id(2)).await;
    for first in (20_000..34_000).step_by(500) {
        store.invalidate(change(first..first + 500)).await.expect("invalidate");
    }
    let outcome = store.commit(run.value("value", &[direct(20_001)])).await.expect("commit");
    assert!(matches!(outcome, smache_core::CommitOutcome::Conflicted { .. }), "{outcome:?}");
    assert!(store.maintain(100_000).await.expect("maintain").trimmed >= 14_000);
    assert_eq!(store.stats().await.expect("stats").invalidations, 0);
}

#[tokio::test]
async fn old_epochs_are_swept_in_pieces() {
    let (store, queue) = shared().await.both(&random_namespace()).expect("both");
    compute_many(&store, 0..700, |number| vec![direct(number)]).await;
    assert_eq!(store.maintain(50).await.expect("maintain").marked, 0);
    store.new_epoch().await.expect("a new epoch");
    let mut marked = 0;
    for _ in 0..14 {
        let done = store.maintain(50).await.expect("maintain");
        assert_eq!(done.marked, 50);
        marked += done.marked;
    }
    assert_eq!(marked, 700);
    assert_eq!(queue.counts().await.expect("counts").recompute, 700);
    let done = store.maintain(50).await.expect("maintain");
    assert_eq!((done.marked, done.more), (0, false));
}

#[tokio::test]
async fn an_entry_with_thousands_of_edges_goes_too() {
    let namespace = random_namespace();
    let store = shared().await.store(&namespace).expect("a store");
    let many: Vec<_> = (0..8_000).map(direct).collect();
    for number in 0..4 {
        let run = begin(&*store, id(number)).await;
        let commit = Commit { ttl: Some(Duration::from_millis(1)), ..run.value("value", &many) };
        store.commit(commit).await.expect("commit");
    }
    let mut expired = 0;
    until("all have expired", async || {
        expired += store.maintain(100).await.expect("maintain").expired;
        expired == 4
    })
    .await;
    let mut connection = raw(&shared_redis_url()).await;
    let left = keys(&mut connection, &namespace).await;
    assert!(left.iter().all(|key| !key.starts_with("d:")), "{left:?}");
}

//! Servers that go away and come back, with the same incarnation or another.

use std::time::Duration;

use smache_core::{Backend, CommitOutcome, ErrorKind, Freshness, Incarnation, Result};
use smache_redis::Redis;
use smache_testkit::{random_namespace, servers::RedisServer};
use tokio::time::timeout;

use crate::support::{ask, begin, change, compute, compute_of, direct, freshness, id, raw, source, step, until};

/// The bound on a busy machine.
const LONG_BOUND: Duration = Duration::from_secs(30);
/// The bound where no server answers.
const SHORT: Duration = Duration::from_millis(800);

async fn connect(server: &RedisServer) -> Redis {
    connect_within(server, LONG_BOUND).await.expect("the private Redis")
}

async fn connect_within(server: &RedisServer, bound: Duration) -> Result<Redis> {
    Redis::builder(server.url()).response_timeout(bound).connect_timeout(bound).connect().await
}

#[tokio::test]
async fn a_run_from_before_a_restart_stores_nothing_after_it() {
    let server = RedisServer::builder().keep_data().start().await;
    let (store, _) = connect(&server).await.both(&random_namespace()).expect("both");
    store.attach(&[source("users")]).await.expect("attach");
    compute_of(&*store, id(1), &[], &[source("users")]).await;
    let run = begin(&*store, id(2)).await;
    let before = store.positions(&[]).await.expect("positions").incarnation;
    server.kill().await;
    server.restart().await;

    // The store repeats a read; a step may report the lost connection once.
    let lookup = store.lookup(&[id(1)]).await.expect("lookup");
    assert_ne!(lookup.incarnation, before);
    let found = freshness(&*store, id(1)).await;
    assert!(found.is_some_and(|found| found.is_unconfirmed()), "the value is there, without a confirmation");
    let outcome = store.commit(run.value("value", &[])).await.expect("commit");
    assert_eq!(outcome, CommitOutcome::OtherIncarnation);
    assert_eq!(freshness(&*store, id(2)).await, None);
    store.attach(&[source("users")]).await.expect("attach");
    assert!(
        matches!(freshness(&*store, id(1)).await, Some(Freshness::Stale { .. })),
        "a new epoch: the tail may be lost"
    );
}

#[tokio::test]
async fn a_feed_that_knows_another_incarnation_is_refused() {
    let server = RedisServer::builder().keep_data().start().await;
    let store = connect(&server).await.store(&random_namespace()).expect("a store");
    let mut next = step(&*store, &source("users"), 1).await;
    store.restart(next.clone()).await.expect("restart");
    next.incarnation = Incarnation::new("another one");
    for outcome in [
        store.restart(next.clone()).await.map(|()| 0),
        store
            .invalidate(smache_core::Invalidation { step: Some(next), ..change(["a"]) })
            .await
            .map(|done| done.revision),
    ] {
        assert_eq!(outcome.expect_err("another incarnation").kind(), ErrorKind::IncarnationChanged);
    }
    assert_eq!(store.stats().await.expect("stats").revision, 1, "nothing but the restart happened");
}

#[tokio::test]
async fn a_server_that_is_down_fails_calls_at_once_and_all_together() {
    let server = RedisServer::start().await;
    let (store, queue) = connect(&server).await.both(&random_namespace()).expect("both");
    compute(&*store, id(1), &[direct("a")]).await;
    server.kill().await;
    let calls: Vec<_> = (0..200)
        .map(|number| {
            let store = store.clone();
            let queue = queue.clone();
            tokio::spawn(async move {
                match number % 3 {
                    0 => store.lookup(&[id(1)]).await.map(|_| ()),
                    1 => store.invalidate(change(["a"])).await.map(|_| ()),
                    _ => queue.counts().await.map(|_| ()),
                }
            })
        })
        .collect();
    for call in calls {
        let error = call.await.expect("no panic").expect_err("there is no server");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.is_transient());
    }
    server.restart().await;
    until("calls work again", async || store.stats().await.is_ok()).await;
    assert_eq!(freshness(&*store, id(1)).await, None, "it came back empty");
}

#[tokio::test]
async fn a_server_that_hangs_ends_in_a_timeout_and_is_used_again_afterwards() {
    let server = RedisServer::start().await;
    let namespace = random_namespace();
    let store = connect(&server).await.store(&namespace).expect("a store");
    compute(&*store, id(1), &[]).await;
    let before = store.positions(&[]).await.expect("positions").incarnation;
    let mut impatient = None;
    until("it connects in a short time", async || {
        impatient = connect_within(&server, SHORT).await.ok();
        impatient.is_some()
    })
    .await;
    let impatient = impatient.expect("it connects").store(&namespace).expect("a store");
    server.pause().await;
    for _ in 0..2 {
        let call = timeout(LONG_BOUND, impatient.invalidate(change(["a"]))).await;
        let error = call.expect("it is given up").expect_err("the server does not answer");
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
        assert!(error.is_transient());
    }
    server.resume().await;
    until("calls work again", async || impatient.stats().await.is_ok()).await;
    assert_eq!(store.positions(&[]).await.expect("positions").incarnation, before, "the same server all the time");
    assert!(matches!(freshness(&*store, id(1)).await, Some(Freshness::Fresh { .. })));
}

#[tokio::test]
async fn a_primary_that_becomes_a_replica_is_left() {
    let server = RedisServer::start().await;
    let other = RedisServer::start().await;
    let store = connect(&server).await.store(&random_namespace()).expect("a store");
    compute(&*store, id(1), &[]).await;
    let mut admin = raw(&server.url()).await;
    let port = other.port().to_string();
    let _: () = ask(&mut admin, &[b"REPLICAOF", b"127.0.0.1", port.as_bytes()]).await;
    let error = store.invalidate(change(["a"])).await.expect_err("a replica takes no writes");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    // The connection is open and would answer look-ups from old data; the store does not use it any more.
    let error = store.lookup(&[id(1)]).await.expect_err("a replica is no store");
    assert_eq!(error.kind(), ErrorKind::WrongServer, "{error:?}");
    let _: () = ask(&mut admin, &[b"REPLICAOF", b"NO", b"ONE"]).await;
    until("it is a primary again", async || store.lookup(&[id(1)]).await.is_ok()).await;
}

/// It keeps its data while it cannot reach its successor, and no client writes to it, which it would refuse.
#[tokio::test]
async fn a_demoted_primary_that_cannot_reach_its_successor_confirms_nothing() {
    let server = RedisServer::start().await;
    let store = connect(&server).await.store(&random_namespace()).expect("a store");
    store.attach(&[source("users")]).await.expect("attach");
    compute_of(&*store, id(1), &[], &[source("users")]).await;
    let before = store.lookup(&[id(1)]).await.expect("lookup").incarnation;
    let mut admin = raw(&server.url()).await;
    let demote = [&b"REPLICAOF"[..], b"127.0.0.1", b"1"];
    let _: () = ask(&mut admin, &demote).await;
    let error = store.lookup(&[id(1)]).await.expect_err("a look-up");
    assert_eq!(error.kind(), ErrorKind::WrongServer, "{error:?}");
    store.read_record(&id(1)).await.expect_err("a look at the whole record");
    let _: () = ask(&mut admin, &[b"REPLICAOF", b"NO", b"ONE"]).await;
    until("it is a primary again", async || store.lookup(&[id(1)]).await.is_ok()).await;
    let after = store.lookup(&[id(1)]).await.expect("lookup").incarnation;
    assert_ne!(after, before, "its successor may have acknowledged changes meanwhile");
    assert!(freshness(&*store, id(1)).await.is_some_and(|freshness| freshness.is_unconfirmed()));

    // The same between two look-ups.
    store.attach(&[source("users")]).await.expect("attach");
    compute_of(&*store, id(2), &[], &[source("users")]).await;
    assert!(matches!(freshness(&*store, id(2)).await, Some(Freshness::Fresh { .. })));
    let _: () = ask(&mut admin, &demote).await;
    let _: () = ask(&mut admin, &[b"REPLICAOF", b"NO", b"ONE"]).await;
    assert!(freshness(&*store, id(2)).await.is_some_and(|freshness| freshness.is_unconfirmed()));
}

#[tokio::test]
async fn a_connection_that_is_cut_is_opened_again() {
    let server = RedisServer::start().await;
    let store = connect(&server).await.store(&random_namespace()).expect("a store");
    compute(&*store, id(1), &[]).await;
    let run = begin(&*store, id(2)).await;
    let mut admin = raw(&server.url()).await;
    for _ in 0..5 {
        let _: u64 = ask(&mut admin, &[b"CLIENT", b"KILL", b"TYPE", b"normal"]).await;
        assert!(matches!(freshness(&*store, id(1)).await, Some(Freshness::Fresh { .. })), "reads never fail for that");
    }
    let _: u64 = ask(&mut admin, &[b"CLIENT", b"KILL", b"TYPE", b"normal"]).await;
    let mut committed = Err(ErrorKind::Internal);
    until("the commit is through", async || {
        committed = store.commit(run.value("value", &[])).await.map_err(|error| error.kind());
        committed != Err(ErrorKind::Unavailable)
    })
    .await;
    // Same server, same incarnation: the run goes on.
    assert!(matches!(committed, Ok(CommitOutcome::Fresh { .. })), "{committed:?}");
}

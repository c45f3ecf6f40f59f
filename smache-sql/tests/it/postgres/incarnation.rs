//! Events while it runs: servers that restart, workers of other processes, steps that meet.

use std::{sync::Arc, time::Duration};

use smache_core::{Backend, ErrorKind, Invalidation, JobQueue, Lane, NewJob, Reserve, Token};
use smache_sql::Postgres;
use smache_testkit::servers::{PostgresServer, shared_postgres_url};
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;

use super::connect::own_schema;
use crate::support::{LONG, change, compute, direct, id, look, namespace};

#[tokio::test]
async fn look_ups_survive_a_restart_and_steps_fail_once_at_most() {
    let server = PostgresServer::start().await;
    let postgres = Postgres::connect(server.url()).await.expect("connect");
    let store = postgres.store(&namespace("shop")).expect("a store");
    compute(&*store, id(1), "one", &[direct("a")]).await;
    // Several connections are open, and the restart closes them all.
    futures_util::future::join_all((0..8).map(|_| look(&*store, id(1)))).await;
    server.restart().await;
    assert_eq!(look(&*store, id(1)).await, Some(("one".to_owned(), true)));
    for _ in 0..20 {
        store.invalidate(change("a")).await.expect("connections from before are tested first");
    }
    server.kill().await;
    let error = store.invalidate(change("a")).await.expect_err("the server is down");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unavailable, true), "{}", error.report());
    server.restart().await;
    store.invalidate(change("a")).await.expect("it is back");
}

#[tokio::test]
async fn job_of_another_process_wakes_a_worker() {
    let name = namespace(&format!("wakes-{}", Token::random()));
    let connect =
        async || Postgres::connect(shared_postgres_url()).await.expect("connect").queue(&name).expect("a queue");
    let (waits, adds): (Arc<dyn JobQueue>, _) = (connect().await, connect().await);
    // The first wait of all ends when the listener has begun to listen.
    waits.wait(LONG).await.expect("wait");
    let worker = tokio::spawn(async move {
        let started = Instant::now();
        // A worker's loop: a hint may come for nothing.
        while waits.reserve(Reserve::new(Lane::Recompute, 1, LONG)).await.expect("reserve").jobs.is_empty() {
            waits.wait(LONG).await.expect("wait");
        }
        started.elapsed()
    });
    adds.enqueue(&[NewJob::now(id(1), Lane::Recompute)]).await.expect("enqueue");
    let waited = worker.await.expect("the worker");
    assert!(waited < LONG / 2, "it was woken and did not wait for the end: {waited:?}");
}

/// Changes that affect the same entries in another order, commits, maintenance and workers: none of them waits without
/// end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn steps_that_meet_end_in_good_time() {
    let name = namespace(&format!("meet-{}", Token::random()));
    let postgres = Postgres::connect(shared_postgres_url()).await.expect("connect");
    let (store, queue) = postgres.both(&name).expect("both");
    for number in 0..40 {
        compute(&*store, id(number), "value", &[direct(number), direct("all")]).await;
    }
    let mut tasks = Vec::new();
    for task in 0..6_u32 {
        let store = store.clone();
        let queue = queue.clone();
        tasks.push(tokio::spawn(async move {
            for round in 0..30_u32 {
                let mut numbers: Vec<u32> = (0..40).collect();
                numbers.rotate_left((task * 7 + round) as usize % 40);
                if task % 2 == 0 {
                    numbers.reverse();
                }
                let changed = numbers.iter().flat_map(|number| change(number).changed).collect();
                store.invalidate(Invalidation { changed, ..Invalidation::default() }).await.expect("invalidate");
                let jobs: Vec<_> = numbers.iter().map(|number| NewJob::now(id(*number), Lane::Recompute)).collect();
                queue.enqueue(&jobs).await.expect("enqueue");
                let ids: Vec<_> = numbers.iter().map(|number| id(*number)).collect();
                queue.reserve(Reserve::new(Lane::Recompute, 5, LONG)).await.expect("reserve");
                queue.discard(&ids[..20]).await.expect("discard");
                store.maintain(50).await.expect("maintain");
            }
        }));
    }
    for task in tasks {
        task.await.expect("a task");
    }
    assert_eq!(store.stats().await.expect("stats").revision, 180);
}

#[tokio::test]
async fn futures_of_the_backend_can_be_spawned() {
    let connected = tokio::spawn(Postgres::connect(shared_postgres_url())).await.expect("the task");
    connected.expect("connect");
}

/// One transaction, however many dependants there are: it gets the time that it needs.
#[tokio::test]
async fn change_that_takes_longer_than_a_step_may_goes_through() {
    let name = namespace(&format!("long-{}", Token::random()));
    // A lock may be that of several namespaces.
    let (url, _) = own_schema().await;
    let builder = Postgres::builder(&*url).statement_timeout(Duration::from_secs(3));
    let store = builder.connect().await.expect("connect").store(&name).expect("a store");
    compute(&*store, id(1), "one", &[direct("a")]).await;
    let mut other = PgConnection::connect(&url).await.expect("a plain connection");
    let mut holds = other.begin().await.expect("begin");
    let lock = sqlx::query("SELECT smache_lock('smache:' || $1, 'EXCLUSIVE')").bind(name.as_str());
    lock.execute(&mut *holds).await.expect("the lock of the namespace");
    let waits = tokio::spawn({
        let store = store.clone();
        async move { store.invalidate(change("a")).await }
    });
    let error = store.new_epoch().await.expect_err("a usual step gives up");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Timeout, true), "{}", error.report());
    let error = store.new_epoch().await.expect_err("a usual step gives up");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(!waits.is_finished());
    holds.rollback().await.expect("unlock");
    assert_eq!(waits.await.expect("the task").expect("invalidate").marked, 1);
}

//! The notifier.

use std::time::Duration;

use smache_core::{Backend, Lane, NewJob};
use smache_redis::Redis;
use smache_testkit::{random_namespace, servers::RedisServer};
use tokio::time::{Instant, timeout};

use crate::support::{ask, change, compute, direct, id, raw, until};

const LONG: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(40);

/// How many connections listen.
async fn listeners(connection: &mut redis::aio::MultiplexedConnection) -> u64 {
    let clients: String = ask(connection, &[b"CLIENT", b"LIST", b"TYPE", b"pubsub"]).await;
    clients.lines().filter(|line| !line.trim().is_empty()).count() as u64
}

#[tokio::test]
async fn all_who_wait_share_one_subscription_and_all_are_woken() {
    let server = RedisServer::start().await;
    let redis = Redis::connect(server.url()).await.expect("the private Redis");
    let (store, queue) = redis.both(&random_namespace()).expect("both");
    let mut probe = raw(&server.url()).await;
    compute(&*store, id(1), &[direct("a")]).await;
    assert_eq!(listeners(&mut probe).await, 0, "no task waits yet");
    queue.wait(SOON).await.expect("the first wait ends when the subscription holds");
    until("there is one subscription", async || listeners(&mut probe).await == 1).await;

    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.wait(LONG).await })
        })
        .collect();
    // A change notifies as an enqueue does. A waiter that missed one notification is woken by the next.
    timeout(SOON, async {
        for waiter in waiting {
            while !waiter.is_finished() {
                store.invalidate(change(["a"])).await.expect("invalidate");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    })
    .await
    .expect("all are woken");
    assert_eq!(listeners(&mut probe).await, 1);
    drop((store, queue));
    until("no connection listens", async || listeners(&mut probe).await == 0).await;
}

#[tokio::test]
async fn a_job_for_later_wakes_workers_that_would_sleep_longer() {
    let server = RedisServer::start().await;
    let redis = Redis::connect(server.url()).await.expect("the private Redis");
    let queue = redis.queue(&random_namespace()).expect("a queue");
    queue.wait(SOON).await.expect("the first wait ends when the subscription holds");
    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.wait(LONG).await }
    });
    // A waiter that missed one notification is woken by the next.
    timeout(SOON, async {
        for number in 1.. {
            let later = NewJob { delay: Duration::from_secs(30), ..NewJob::now(id(number), Lane::Recompute) };
            queue.enqueue(&[later]).await.expect("enqueue");
            if waiting.is_finished() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it looks when the job is due");
    waiting.await.expect("it does not panic").expect("wait");
}

#[tokio::test]
async fn what_rings_between_two_waits_is_not_slept_through() {
    let server = RedisServer::start().await;
    let redis = Redis::connect(server.url()).await.expect("the private Redis");
    let queue = redis.queue(&random_namespace()).expect("a queue");
    let mut probe = raw(&server.url()).await;
    queue.wait(SOON).await.expect("wait");
    until("there is a subscription", async || listeners(&mut probe).await == 1).await;
    queue.wait(Duration::from_millis(1)).await.expect("what the subscription rang is heard");

    queue.enqueue(&[NewJob::now(id(1), Lane::Recompute)]).await.expect("enqueue");
    // The message is on its way or has arrived; no worker waits at the moment.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let started = Instant::now();
    queue.wait(LONG).await.expect("wait");
    assert!(started.elapsed() < SOON);
}

#[tokio::test]
async fn a_request_that_changes_nothing_does_not_ring() {
    let server = RedisServer::start().await;
    let redis = Redis::connect(server.url()).await.expect("the private Redis");
    let queue = redis.queue(&random_namespace()).expect("a queue");
    let mut probe = raw(&server.url()).await;
    let later = NewJob { delay: LONG, ..NewJob::now(id(1), Lane::Recompute) };
    queue.enqueue(std::slice::from_ref(&later)).await.expect("enqueue");
    let _: () = ask(&mut probe, &[b"CONFIG", b"RESETSTAT"]).await;
    let even_later = NewJob { delay: LONG * 2, ..later.clone() };
    let net = NewJob { revive: false, delay: Duration::ZERO, ..later };
    queue.enqueue(&[even_later, net]).await.expect("enqueue");
    let stats: String = ask(&mut probe, &[b"INFO", b"commandstats"]).await;
    assert!(!stats.contains("cmdstat_publish"), "{stats}");
}

#[tokio::test]
async fn the_subscription_comes_back_with_the_server() {
    let server = RedisServer::start().await;
    let redis = Redis::connect(server.url()).await.expect("the private Redis");
    let queue = redis.queue(&random_namespace()).expect("a queue");
    queue.wait(SOON).await.expect("wait");
    server.kill().await;
    let started = Instant::now();
    queue.wait(Duration::from_millis(100)).await.expect("without a server the time is what ends a wait");
    assert!(started.elapsed() < SOON);
    server.restart().await;
    let mut probe = raw(&server.url()).await;
    until("it listens again", async || listeners(&mut probe).await == 1).await;
    let waiting = tokio::spawn(async move { queue.wait(LONG).await });
    timeout(SOON, waiting).await.expect("the new subscription rings").expect("no panic").expect("wait");
}

//! A store and a queue on separate servers.

use smache::{Smache, memory::Memory, mongo::MongoSource, redis::Redis};
use smache_server_tests::{Doc, State, report};
use smache_testkit::servers::RedisServer;

use crate::{
    waits::{PATIENCE, until},
    world::{World, get, until_report, until_sight},
};

#[tokio::test]
async fn jobs_that_were_lost_with_their_queue_are_enqueued_again() {
    let queue = RedisServer::start().await;
    let mut world = World::shared().await;
    world.setup.queue = Some(queue.url());
    for id in 1..=3 {
        world.insert(id, 0).await;
    }
    let feeder = world.node(&world.feeder()).await;
    let worker = world.node(&world.worker()).await;
    let reader = world.reader().await;
    for id in 1..=3 {
        assert_eq!(get(&reader, id, 0).await.n, 0);
    }
    world.set(1, 1).await;
    until_report(&reader, 1, 0, 1).await;
    worker.end().await;

    for id in 1..=3 {
        world.set(id, 2).await;
    }
    until("three jobs", async || {
        let jobs = reader.inspect().stats().await.map_err(|error| error.report())?.jobs;
        if jobs.recompute == 3 { Ok(()) } else { Err(format!("{jobs:?}")) }
    })
    .await;
    queue.kill().await;
    queue.restart().await;
    // The store cannot notice that its jobs are gone.
    for id in 1..=3 {
        until_sight(&reader, id, 0, if id == 1 { 1 } else { 0 }, State::Stale).await;
    }

    let worker = world.node(&world.worker()).await;
    for id in 1..=3 {
        until_report(&reader, id, 0, 2).await;
    }
    world.end([feeder, worker]).await;
}

#[tokio::test]
async fn a_queue_in_memory_serves_the_worker_of_its_process() {
    let world = World::shared().await;
    world.insert(1, 0).await;
    let smache = Smache::builder(&world.setup.namespace)
        .store(Redis::connect(&world.setup.store).await.expect("a Redis"))
        .queue(Memory::new())
        .source(MongoSource::<Doc>::new(&world.docs))
        .state(world.log.clone())
        .register::<report>()
        .build()
        .await
        .expect("a system");
    let worker = smache.worker().start();
    assert_eq!(get(&smache, 1, 0).await.n, 0);
    for n in 1..=3 {
        world.set(1, n).await;
        until_report(&smache, 1, 0, n).await;
    }
    worker.shutdown(PATIENCE).await;
    smache.shutdown().await;
    world.end([]).await;
}

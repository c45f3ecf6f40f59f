//! A Redis that is killed, comes back empty or with its data, or falls silent.

use std::time::Duration;

use smache::{Error, Smache};
use smache_server_tests::{Setup, Sight, Silent, State, report};
use smache_testkit::servers::{RedisServer, shared_mongo_uri};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    node::Node,
    raw_redis::raw_redis,
    waits::{PATIENCE, until},
    watch::Watch,
    world::{World, get, until_report, until_sight},
};

/// Long enough for a node not to lose its own.
const LEASE: Duration = Duration::from_secs(5);
/// So long one step of the store may take for an impatient reader.
const STEP: Duration = Duration::from_millis(500);

/// A process that does everything, and a reader with two fresh reports.
async fn at_work(redis: &RedisServer) -> (World, Node, Smache) {
    let world = World::on(redis.url(), shared_mongo_uri()).await.leased(LEASE).watched();
    for id in [1, 2] {
        world.insert(id, 0).await;
    }
    let node = world.node(&world.all_roles()).await;
    let reader = world.reader().await;
    for id in [1, 2] {
        assert_eq!(get(&reader, id, 0).await.n, 0);
        until_report(&reader, id, 0, 0).await;
    }
    (world, node, reader)
}

/// A read with little patience.
async fn get_soon(smache: &Smache, id: i64) -> Result<Sight, Error> {
    let got = timeout(PATIENCE, smache.get(report(id, 0))).await;
    got.unwrap_or_else(|_| panic!("a reader waited for {PATIENCE:?}")).map(Into::into)
}

/// A reader that waits for no step longer than [`STEP`], once the machine is quick enough for it to start.
async fn impatient(world: &World, silent: Silent) -> Smache {
    let setup = Setup { store_timeout: STEP, silent, ..world.setup.clone() };
    until("impatient reader", async || setup.smache(&world.db).await.map_err(|error| error.report())).await
}

#[tokio::test]
async fn a_store_that_lost_everything_is_filled_again() {
    let redis = RedisServer::start().await;
    let (world, node, reader) = at_work(&redis).await;

    redis.kill().await;
    for n in 1..=2 {
        world.set(1, n).await;
        let seen = get_soon(&reader, 1).await.expect("a value that was computed for this reader");
        assert_eq!(seen, Sight { n, state: State::Unconfirmed });
    }
    redis.restart().await;
    let watch = Watch::default();
    watch.wrote(2);
    until("fresh report from the new store", async || {
        let asked = Instant::now();
        let seen = get_soon(&reader, 1).await.map_err(|error| error.report())?;
        assert_eq!(seen.n, 2, "there is no old value to be read");
        watch.saw(asked, seen);
        if seen.state == State::Fresh { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    world.set(1, 3).await;
    until_report(&reader, 1, 0, 3).await;
    world.end([node]).await;
}

#[tokio::test]
async fn a_store_that_comes_back_confirms_nothing_before_the_feed_has_replayed() {
    let redis = RedisServer::builder().keep_data().start().await;
    let (world, node, reader) = at_work(&redis).await;

    redis.kill().await;
    node.kill().await;
    world.set(1, 1).await;
    redis.restart().await;
    // The earlier leases still hold for a moment: the difference is that the server is another one.
    let restarted = Instant::now();
    while restarted.elapsed() < Duration::from_secs(1) {
        for id in [1, 2] {
            match reader.peek(report(id, 0)).await {
                Ok(seen) => assert_eq!(seen.map(Sight::from), Some(Sight { n: 0, state: State::Unconfirmed })),
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
        }
        sleep(Duration::from_millis(5)).await;
    }

    // No worker yet: results that are fresh now never were stale.
    let feeder = world.node(&world.feeder()).await;
    until_sight(&reader, 1, 0, 0, State::Stale).await;
    until_report(&reader, 2, 0, 0).await;
    let worker = world.node(&world.worker()).await;
    until_report(&reader, 1, 0, 1).await;
    assert_eq!((world.runs_of(1).await, world.runs_of(2).await), (2, 1));
    world.end([feeder, worker]).await;
}

#[tokio::test]
async fn a_store_that_lost_its_last_minutes_confirms_nothing_that_changed_in_them() {
    let redis = RedisServer::start().await;
    let (world, node, reader) = at_work(&redis).await;
    let mut connection = raw_redis(&redis.url()).await;
    redis::cmd("SAVE").exec_async(&mut connection).await.expect("a snapshot");
    world.set(1, 1).await;
    until_report(&reader, 1, 0, 1).await;
    node.kill().await;

    // It comes back with the snapshot, in which the old value is fresh.
    redis.kill().await;
    redis.restart().await;
    let feeder = Node::start(&world.feeder());
    until("stale report of the past", async || {
        match reader.peek(report(1, 0)).await.map(|seen| seen.map(Sight::from)) {
            Ok(Some(Sight { n: 0, state: State::Stale })) => Ok(()),
            Ok(Some(Sight { n: 0, state: State::Unconfirmed })) => Err("not yet".to_owned()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.report()),
        }
    })
    .await;
    let feeder = feeder.ready().await;
    until_report(&reader, 2, 0, 0).await;
    let worker = world.node(&world.worker()).await;
    until_report(&reader, 1, 0, 1).await;
    assert_eq!(world.runs_of(2).await, 1);
    world.end([feeder, worker]).await;
}

#[tokio::test]
async fn readers_do_not_wait_for_a_silent_store() {
    let redis = RedisServer::start().await;
    let (world, node, reader) = at_work(&redis).await;
    let computing = impatient(&world, Silent::Compute).await;
    let failing = impatient(&world, Silent::Fail).await;

    redis.pause().await;
    world.set(1, 1).await;
    for _ in 0..2 {
        let seen = get_soon(&computing, 1).await.expect("a value that was computed for this reader");
        assert_eq!(seen, Sight { n: 1, state: State::Unconfirmed });
        let error = get_soon(&failing, 1).await.expect_err("the store's error");
        assert!(error.is_transient(), "{error}");
        // Its own bound, not the one of the client, which is many times as long.
        assert!(error.to_string().contains("the backend took longer than 500ms"), "{}", error.report());
    }
    redis.resume().await;
    let watch = Watch::default();
    watch.wrote(1);
    for reader in [&computing, &failing] {
        until("fresh report", async || {
            let asked = Instant::now();
            let seen = get_soon(reader, 1).await.map_err(|error| error.report())?;
            watch.saw(asked, seen);
            if seen == (Sight { n: 1, state: State::Fresh }) { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await;
    }
    until_report(&reader, 1, 0, 1).await;
    world.set(1, 2).await;
    until_report(&reader, 1, 0, 2).await;
    timeout(PATIENCE, node.end()).await.expect("an end");
    world.end([]).await;
}

//! A MongoDB that is restarted or has forgotten its history, collections that go, and changes without a reader.

use std::time::Duration;

use mongodb::bson::{Document, Timestamp, doc};
use smache::ErrorKind;
use smache_server_tests::{Doc, Sight, State, report};
use smache_testkit::servers::{MongoServer, shared_redis_url};

use crate::{
    waits::until,
    world::{World, get, peek, until_gone, until_report, until_sight},
};

/// Some nodes are killed. Long enough for the others not to lose their own.
const LEASE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn the_feed_of_a_restarted_server_goes_on_where_it_was() {
    let mongo = MongoServer::start().await;
    let world = World::on(shared_redis_url(), mongo.uri()).await.leased(LEASE);
    for id in [1, 2] {
        world.insert(id, 0).await;
    }
    let node = world.node(&world.all_roles()).await;
    let reader = world.reader().await;
    for id in [1, 2] {
        assert_eq!(get(&reader, id, 0).await.n, 0);
    }
    for (n, how) in [(1, "stop"), (2, "kill")] {
        match how {
            "stop" => mongo.stop().await,
            _ => mongo.kill().await,
        }
        assert_eq!(peek(&reader, 1, 0).await.expect("a value").n, n - 1, "readers do not need the source");
        mongo.restart().await;
        world.set(1, n).await;
        until_report(&reader, 1, 0, n).await;
        until_report(&reader, 2, 0, 0).await;
    }
    assert_eq!(world.runs_of(2).await, 1, "what did not change is not computed again");
    world.end([node]).await;
}

#[tokio::test]
async fn changes_while_no_process_runs_are_found_at_the_next_start() {
    let world = World::shared().await.leased(LEASE);
    for id in [1, 2] {
        world.insert(id, 0).await;
    }
    let reader = world.reader().await;
    for (n, how) in [(1, "end"), (2, "kill")] {
        let node = world.node(&world.all_roles()).await;
        for id in [1, 2] {
            let all_before = if id == 1 { n - 1 } else { 0 };
            let _ = get(&reader, id, 0).await;
            until_report(&reader, id, 0, all_before).await;
        }
        match how {
            "end" => node.end().await,
            _ => node.kill().await,
        }
        world.set(1, n).await;
        let feeder = world.node(&world.feeder()).await;
        until_sight(&reader, 1, 0, n - 1, State::Stale).await;
        until_report(&reader, 2, 0, 0).await;
        let worker = world.node(&world.worker()).await;
        until_report(&reader, 1, 0, n).await;
        for node in [feeder, worker] {
            node.end().await;
        }
    }
    assert_eq!(world.runs_of(2).await, 1, "what did not change is not computed again");
    world.end([]).await;
}

/// When the first change of the server's history was, or the last one (-1).
async fn end_of_the_history(world: &World, order: i32) -> Timestamp {
    let log = world.db.client().database("local").collection::<Document>("oplog.rs");
    let entry = log.find_one(doc! {}).sort(doc! { "$natural": order }).await.expect("the log can be read");
    entry.expect("an entry").get_timestamp("ts").expect("its time")
}

#[tokio::test]
async fn everything_goes_stale_when_the_history_is_lost() {
    let mongo = MongoServer::builder().short_history().start().await;
    let world = World::on(shared_redis_url(), mongo.uri()).await.leased(LEASE);
    world.insert(1, 0).await;
    let node = world.node(&world.all_roles()).await;
    let reader = world.reader().await;
    assert_eq!(get(&reader, 1, 0).await, Sight { n: 0, state: State::Fresh });
    node.end().await;

    let last = end_of_the_history(&world, -1).await;
    let others = world.db.collection::<Document>("others");
    until("end of the old history", async || {
        let filling = "x".repeat(1_000);
        others.insert_many((0..500).map(|n| doc! { "n": n, "filling": &filling })).await.expect("documents");
        let first = end_of_the_history(&world, 1).await;
        if first > last { Ok(()) } else { Err(format!("it reaches back to {first}")) }
    })
    .await;
    let feeder = world.node(&world.feeder()).await;
    // The document itself did not change, but the feed cannot know that any more.
    until_sight(&reader, 1, 0, 0, State::Stale).await;
    assert_eq!(world.runs_of(1).await, 1);
    let worker = world.node(&world.worker()).await;
    until_report(&reader, 1, 0, 0).await;
    assert_eq!(world.runs_of(1).await, 2);
    world.set(1, 1).await;
    until_report(&reader, 1, 0, 1).await;
    world.end([feeder, worker]).await;
}

#[tokio::test]
async fn everything_of_a_collection_goes_stale_when_it_goes() {
    let world = World::shared().await.leased(LEASE);
    world.insert(1, 1).await;
    let feeder = world.node(&world.feeder()).await;
    let reader = world.reader().await;
    assert_eq!(get(&reader, 1, 0).await, Sight { n: 1, state: State::Fresh });

    world.docs.drop().await.expect("a drop");
    until_sight(&reader, 1, 0, 1, State::Stale).await;
    world.insert(1, 2).await;
    let worker = world.node(&world.worker()).await;
    until_report(&reader, 1, 0, 2).await;
    worker.end().await;

    world.rename("docs", "archive").await;
    until_sight(&reader, 1, 0, 2, State::Stale).await;
    let worker = world.node(&world.worker()).await;
    until_gone(&reader, report(1, 0)).await;
    assert_eq!(reader.get(report(1, 0)).await.expect_err("no document").kind(), ErrorKind::Gone);

    world.db.collection::<Doc>("imported").insert_one(Doc::new(1, 3)).await.expect("an insert");
    world.rename("imported", "docs").await;
    until("report of what was renamed to it", async || match reader.get(report(1, 0)).await {
        Ok(value) if *value == 3 && value.is_fresh() => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    world.end([feeder, worker]).await;
}

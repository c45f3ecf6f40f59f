//! Going on from a saved position.

use std::time::{Duration, Instant};

use mongodb::bson::doc;
use smache_core::{DataSource, ErrorKind, Position, Start};
use smache_mongo::MongoSource;
use smache_testkit::servers::MongoServer;

use crate::world::{PATIENCE, User, World, told, topic};

#[tokio::test]
async fn the_position_right_after_opening_is_one_to_go_on_from() {
    let world = World::shared().await;
    world.insert(1, "before").await;
    let position = world.tail().await.position();
    world.insert(2, "after").await;
    assert_eq!(told(&world.tail_after(position).await.all().await), ["people 2 inserted -→after"]);
}

#[tokio::test]
async fn a_feed_goes_on_after_every_position_that_it_gave() {
    const WRITES: usize = 6;
    let world = World::shared().await;
    let mut tail = world.tail().await;
    // Each position with the number of changes before it.
    let mut positions = vec![(tail.position(), 0)];
    for id in 0..WRITES {
        world.insert(i64::try_from(id).expect("small"), "x").await;
        tail.take(1).await;
        positions.push((tail.position(), id + 1));
        world.documents("others").insert_one(doc! {}).await.expect("an insert");
        tail.all().await;
        positions.push((tail.position(), id + 1));
    }
    let orders: Vec<_> = positions.iter().map(|(position, _)| position.order.clone()).collect();
    assert!(orders.windows(2).all(|pair| pair[0] <= pair[1]), "{orders:?}");
    assert!(orders.windows(3).all(|pair| pair[0] < pair[2]), "each change has moved it: {orders:?}");

    for (position, before) in positions {
        let mut again = world.tail_after(position.clone()).await;
        assert_eq!(again.position(), position, "nothing was delivered yet");
        let expected: Vec<_> = (before..WRITES).map(|id| format!("people {id} inserted -→x")).collect();
        assert_eq!(told(&again.all().await), expected);
    }
}

#[tokio::test]
async fn the_position_moves_on_while_only_others_write() {
    let world = World::shared().await;
    let mut tail = world.tail().await;
    tail.all().await;
    let before = tail.position();
    let deadline = Instant::now() + PATIENCE;
    while tail.position() <= before {
        assert!(Instant::now() < deadline, "a history that is not followed is lost some day");
        world.documents("others").insert_one(doc! {}).await.expect("an insert");
        assert!(tail.next().await.changes.is_empty());
    }
}

#[tokio::test]
async fn nothing_is_lost_over_a_crash_of_the_server() {
    let server = MongoServer::start().await;
    let world = World::at(&server.uri()).await;
    let mut tail = world.tail().await;
    world.insert(1, "before").await;
    assert_eq!(told(&tail.take(1).await), ["people 1 inserted -→before"]);
    world.insert(2, "unread").await;
    let position = tail.position();
    server.kill().await;
    server.restart().await;

    world.insert(3, "after").await;
    let told = told(&world.tail_after(position).await.all().await);
    assert_eq!(told, ["people 2 inserted -→unread", "people 3 inserted -→after"]);
}

#[tokio::test]
async fn a_server_that_goes_ends_the_stream_within_the_bound() {
    let server = MongoServer::start().await;
    let world = World::at(&server.uri()).await;
    let source = MongoSource::<User>::builder(&world.users).timeout(Duration::from_secs(1)).build();
    let (feed, topic) = source.feed().expect("a feed");
    let topics = [topic];
    let began = Instant::now();
    let mut stream = loop {
        match feed.open(&topics, Start::Now).await {
            Ok(stream) => break stream,
            // On a busy machine even this takes longer.
            Err(error) => assert!(error.is_transient() && began.elapsed() < PATIENCE, "{error}"),
        }
    };
    server.kill().await;
    let gone = Instant::now();
    let error = loop {
        match stream.next().await {
            Ok(batch) => assert!(batch.changes.is_empty() && gone.elapsed() < PATIENCE),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.is_transient() && gone.elapsed() < PATIENCE, "{:?}", gone.elapsed());
}

#[tokio::test]
async fn a_position_that_fell_out_of_the_history_is_an_error() {
    let server = MongoServer::builder().short_history().start().await;
    let world = World::at(&server.uri()).await;
    world.insert(1, "old").await;
    let position = world.tail().await.position();
    let short_history = async || {
        let findings = world.source().examine().await.expect("examine").findings;
        findings.iter().any(|finding| finding.problem.contains("history of changes reaches back"))
    };
    assert!(!short_history().await, "a young server has lost nothing yet");
    let deadline = Instant::now() + PATIENCE;
    // The server drops its history in large steps, about once a second.
    let error = loop {
        assert!(Instant::now() < deadline, "the server forgets nothing");
        let documents = (0..200).map(|number| doc! { "number": number, "filling": "x".repeat(1_000) });
        world.documents("others").insert_many(documents).await.expect("inserts");
        match world.open(Start::After(position.clone())).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::HistoryLost, "{error}");
    assert!(short_history().await);
    // A new start goes on from the present.
    let mut tail = world.tail().await;
    world.insert(2, "new").await;
    assert_eq!(told(&tail.all().await), ["people 2 inserted -→new"]);
}

#[tokio::test]
async fn a_position_of_something_else_is_in_no_history() {
    let world = World::shared().await;
    let mut position = world.tail().await.position();
    let spoiled = mongodb::bson::rawdoc! { "_data": "82" }.as_bytes().to_vec();
    for token in [b"not a document".to_vec(), spoiled] {
        position = Position { order: position.order, token: token.into() };
        let error = world.open(Start::After(position.clone())).await.expect_err("no such position");
        assert_eq!(error.kind(), ErrorKind::HistoryLost, "{error}");
    }
}

#[tokio::test]
async fn a_read_that_is_given_up_loses_nothing() {
    let world = World::shared().await;
    let mut tail = world.tail().await;
    for id in 1..=5 {
        let given_up = tokio::time::timeout(Duration::from_millis(5), tail.next()).await;
        if let Ok(batch) = given_up {
            assert!(batch.changes.is_empty());
        }
        let position = tail.position();
        world.insert(id, "x").await;
        drop(tail);
        tail = world.tail_after(position).await;
        assert_eq!(told(&tail.take(1).await), [format!("people {id} inserted -→x")]);
    }
    assert_eq!(topic(&world.source()).name, "users");
}

//! Positions of histories that a server does not have: of another set, or of a state before a restore.

use std::time::Duration;

use mongodb::{
    Client,
    bson::{Document, doc},
};
use smache_core::{ErrorKind, Position, Start};
use smache_testkit::servers::MongoServer;

use crate::world::{World, told};

async fn assert_lost(world: &World, position: Position) {
    let error = world.open(Start::After(position)).await.expect_err("another history");
    assert_eq!(error.kind(), ErrorKind::HistoryLost, "{}", error.report());
}

/// The document in a saved position.
fn saved(position: &Position) -> Document {
    Document::from_reader(&position.token[..]).expect("a document")
}

/// The same position with a changed document.
fn changed(position: &Position, change: impl FnOnce(&mut Document)) -> Position {
    let mut document = saved(position);
    change(&mut document);
    Position { token: mongodb::bson::to_vec(&document).expect("a document").into(), ..position.clone() }
}

/// The server again, with the same name and address, and empty.
async fn recreate(server: &MongoServer) {
    server.kill().await;
    server.wipe().await;
    server.restart().await;
}

#[tokio::test]
async fn a_set_that_was_made_again_does_not_take_a_position_of_its_predecessor() {
    let server = MongoServer::start().await;
    let world = World::at(&server.uri()).await;
    // While a position can name nothing but the set.
    let quiet = world.tail().await.position();
    let mut tail = world.tail().await;
    world.insert(1, "old").await;
    tail.take(1).await;
    let position = tail.position();
    recreate(&server).await;

    world.insert(1, "new").await;
    assert_lost(&world, quiet).await;
    assert_lost(&world, position).await;
    let mut tail = world.tail().await;
    world.insert(2, "new").await;
    assert_eq!(told(&tail.take(1).await), ["people 2 inserted -→new"]);
}

/// The id of the set needs a right that a source does not need: `replSetGetConfig`.
#[tokio::test]
async fn a_user_who_only_reads_is_not_led_to_another_set_either() {
    let server = MongoServer::builder().guarded_once_restarted().start().await;
    let name = "shop";
    let make = async || {
        let plain = Client::with_uri_str(server.uri()).await.expect("a client").database(name);
        let user = doc! { "createUser": "reader", "pwd": "hunter2", "roles": ["readWrite"] };
        plain.run_command(user).await.expect("a user");
        plain.collection::<Document>("users").insert_one(doc! { "_id": 1_i64, "name": "x" }).await.expect("an insert");
        server.restart().await;
    };
    make().await;
    let uri = server.uri().replace("mongodb://", "mongodb://reader:hunter2@").replace("/?", &format!("/{name}?"));
    let world = World::in_database(&uri, name).await;
    let quiet = world.tail().await.position();
    assert!(!saved(&quiet).get_document("origin").expect("a history").contains_key("set"), "it is not told");
    recreate(&server).await;
    // The second start asks for passwords; the third is the first one of the new set.
    server.kill().await;
    server.wipe().await;
    server.restart().await;
    make().await;
    let world = World::in_database(&uri, name).await;
    assert_lost(&world, quiet).await;
}

#[tokio::test]
async fn a_server_that_was_put_back_to_an_older_state_does_not_take_what_came_after_it() {
    let server = MongoServer::start().await;
    let world = World::at(&server.uri()).await;
    world.insert(1, "before").await;
    let mut tail = world.tail().await;
    world.insert(2, "before").await;
    tail.take(1).await;
    let before = tail.position();
    server.stop().await;
    server.back_up().await;
    server.restart().await;
    let mut tail = world.tail_after(before.clone()).await;
    world.insert(3, "undone").await;
    tail.take(1).await;
    let undone = tail.position();
    tail.all().await;
    let undone_and_quiet = tail.position();
    server.kill().await;
    server.put_back().await;
    server.restart().await;

    world.insert(4, "after").await;
    assert_lost(&world, undone).await;
    assert_lost(&world, undone_and_quiet).await;
    let told = told(&world.tail_after(before).await.take(1).await);
    assert_eq!(told, ["people 4 inserted -→after"], "what came before the copy is of this history");
}

#[tokio::test]
async fn a_position_from_the_future_is_not_waited_for() {
    let world = World::shared().await;
    let position = world.tail().await.position();
    let later = changed(&position, |saved| {
        let token = saved.get_document_mut("token").expect("a token");
        let data = token.get_str("_data").expect("digits").to_owned();
        let seconds = u32::from_str_radix(&data[2..10], 16).expect("a time") + 86_400;
        token.insert("_data", format!("{}{seconds:08X}{}", &data[..2], &data[10..]));
    });
    assert_lost(&world, later).await;
}

#[tokio::test]
async fn tokens_that_the_server_cannot_read_are_lost_positions() {
    let world = World::shared().await;
    let position = world.tail().await.position();
    for data in ["82", "", "zz", "826B0D1AE7", "8200000001000000014B", "00", "826B0D1AE7000000014B022C0100296E04"] {
        let odd = changed(&position, |saved| drop(saved.insert("token", doc! { "_data": data })));
        assert_lost(&world, odd).await;
    }
    assert_lost(&world, changed(&position, |saved| drop(saved.insert("token", doc! {})))).await;
    assert_lost(&world, changed(&position, |saved| drop(saved.remove("origin")))).await;
}

#[tokio::test]
async fn collections_that_are_dropped_and_made_again_leave_the_position_good() {
    let world = World::shared().await;
    let mut tail = world.tail().await;
    world.insert(1, "first").await;
    tail.take(1).await;
    let with_first = tail.position();
    world.users.drop().await.expect("a drop");
    world.insert(1, "second").await;
    tail.take(2).await;
    let with_second = tail.position();
    world.insert(2, "third").await;
    assert_eq!(told(&world.tail_after(with_second).await.take(1).await), ["people 2 inserted -→third"]);
    let told = told(&world.tail_after(with_first).await.take(3).await);
    assert_eq!(told, ["people reset", "people 1 inserted -→second", "people 2 inserted -→third"]);
}

#[tokio::test]
async fn an_update_by_a_pipeline_tells_its_fields_although_it_arrives_as_a_replacement() {
    let world = World::shared().await;
    world.keep_images().await;
    world.insert(1, "Anna").await;
    let mut tail = world.tail().await;
    let update = vec![doc! { "$set": { "name": "Anne", "age": 7 } }];
    world.users.update_one(doc! { "_id": 1 }, update).await.expect("an update");
    assert_eq!(told(&tail.take(1).await), ["people 1 updated Anna→Anne [age name]"]);
    assert!(tail.stream.next().await.is_ok());
    let quiet = tokio::time::timeout(Duration::from_secs(20), tail.all()).await.expect("it goes on");
    assert!(quiet.is_empty());
}

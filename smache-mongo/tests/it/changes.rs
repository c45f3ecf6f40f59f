//! The changes that the feed delivers, of each kind.

use mongodb::bson::{doc, oid::ObjectId};
use smache_core::ChangeKind;

use crate::world::{Grade, User, World, counted, key, told};

#[tokio::test]
async fn every_kind_of_write_is_delivered() {
    let world = World::shared().await;
    let mut tail = world.tail().await;
    world.insert(1, "Anna").await;
    let update = doc! { "$set": { "name": "Anne", "address.city": "Ulm" } };
    world.users.update_one(doc! { "_id": 1 }, update).await.expect("an update");
    world.users.update_one(doc! { "_id": 1 }, doc! { "$unset": { "address": 1 } }).await.expect("an update");
    world.users.replace_one(doc! { "_id": 1 }, User { id: 1, name: "Ann".to_owned() }).await.expect("a replacement");
    world.users.delete_one(doc! { "_id": 1 }).await.expect("a deletion");
    assert_eq!(
        told(&tail.all().await),
        [
            "people 1 inserted -→Anna",
            "people 1 updated ?→? [address name]",
            "people 1 updated ?→? [address]",
            "people 1 updated ?→Ann",
            "people 1 deleted ?→-",
        ]
    );
}

#[tokio::test]
async fn images_are_delivered_where_the_collection_keeps_them() {
    let world = World::shared().await;
    world.keep_images().await;
    let mut tail = world.tail().await;
    world.insert(1, "Anna").await;
    assert_eq!(told(&tail.all().await), ["people 1 inserted -→Anna"]);
    world.rename(1, "Anne").await;
    assert_eq!(told(&tail.all().await), ["people 1 updated Anna→Anne [name]"]);
    world.users.replace_one(doc! { "_id": 1 }, User { id: 1, name: "Ann".to_owned() }).await.expect("a replacement");
    assert_eq!(told(&tail.all().await), ["people 1 updated Anne→Ann [name]"]);
    world.users.delete_one(doc! { "_id": 1 }).await.expect("a deletion");
    assert_eq!(told(&tail.all().await), ["people 1 deleted Ann→-"]);
}

#[tokio::test]
async fn writes_of_many_documents_are_delivered_one_by_one() {
    const NUMBER: i64 = 700;
    let world = World::shared().await;
    let mut tail = world.tail().await;
    let users = (0..NUMBER).map(|id| User { id, name: "x".to_owned() });
    world.users.insert_many(users).await.expect("inserts");
    world.users.update_many(doc! { "_id": { "$lt": 100 } }, doc! { "$set": { "name": "y" } }).await.expect("updates");
    world.users.delete_many(doc! { "_id": { "$gte": 650 } }).await.expect("deletions");
    let changes = tail.all().await;
    let told_of =
        |kind: ChangeKind| changes.iter().filter(move |change| change.kind == kind).map(|change| change.key.clone());
    let keys = |ids: std::ops::Range<i64>| ids.map(key).collect::<Vec<_>>();
    assert_eq!(told_of(ChangeKind::Insert).collect::<Vec<_>>(), keys(0..NUMBER));
    let sorted = |kind| {
        let mut keys: Vec<_> = told_of(kind).collect();
        keys.sort();
        keys
    };
    assert_eq!(sorted(ChangeKind::Update), keys(0..100));
    assert_eq!(sorted(ChangeKind::Delete), keys(650..NUMBER));
}

#[tokio::test]
async fn a_transaction_is_delivered_when_it_commits_and_never_when_it_aborts() {
    let world = World::shared().await;
    world.insert(1, "Anna").await;
    world.grades.insert_one(Grade { id: ObjectId::from_bytes([1; 12]), points: 1 }).await.expect("an insert");
    let mut tail = world.tail().await;
    for (commits, name) in [(false, "Eve"), (true, "Anne")] {
        let mut session = world.client.start_session().await.expect("a session");
        session.start_transaction().await.expect("a transaction");
        let update = doc! { "$set": { "name": name } };
        world.users.update_one(doc! { "_id": 1 }, update).session(&mut session).await.expect("an update");
        let user = User { id: 2, name: name.to_owned() };
        world.users.insert_one(user).session(&mut session).await.expect("an insert");
        world.grades.delete_one(doc! {}).session(&mut session).await.expect("a deletion");
        assert_eq!(told(&tail.all().await), Vec::<String>::new(), "not committed");
        if commits {
            session.commit_transaction().await.expect("a commit");
        } else {
            session.abort_transaction().await.expect("an abort");
        }
    }
    let id = "01".repeat(12);
    assert_eq!(
        told(&tail.all().await),
        [
            "people 1 updated ?→? [name]".to_owned(),
            "people 2 inserted -→Anne".to_owned(),
            format!("grades {id} deleted ?→-")
        ]
    );
}

#[tokio::test]
async fn one_stream_serves_several_types_and_nothing_else() {
    let world = World::shared().await;
    let mut tail = world.tail().await;
    let id = ObjectId::from_bytes([7; 12]);
    world.insert(7, "Anna").await;
    world.documents("others").insert_one(doc! { "_id": 7 }).await.expect("an insert");
    world.grades.insert_one(Grade { id, points: 3 }).await.expect("an insert");
    let changes = tail.all().await;
    assert_eq!(
        told(&changes),
        ["people 7 inserted -→Anna".to_owned(), format!("grades {} inserted -→3", "07".repeat(12))]
    );
    assert_eq!(changes[1].key, key(id), "the key is that of the typed id");
}

#[tokio::test]
async fn documents_that_are_not_entities_do_not_stop_the_feed() {
    let world = World::shared().await;
    let mut tail = world.tail().await;
    let documents = world.documents("users");
    documents.insert_one(doc! { "_id": 1_i64, "nom": "Anna" }).await.expect("an insert");
    documents.insert_one(doc! { "_id": "one", "name": "Anna" }).await.expect("an insert");
    documents.insert_one(doc! { "_id": f64::NAN, "name": "Anna" }).await.expect("an insert");
    world.insert(2, "Bea").await;
    assert_eq!(
        told(&tail.all().await),
        ["people 1 inserted -→?", "people \"one\" inserted -→?", "people reset", "people 2 inserted -→Bea"]
    );
}

#[tokio::test]
async fn every_write_of_many_writers_is_delivered_once() {
    const WRITERS: i64 = 4;
    const WRITES: i64 = 25;
    let world = World::shared().await;
    let mut tail = world.tail().await;
    let writers = (0..WRITERS).map(|writer| {
        let users = world.users.clone();
        tokio::spawn(async move {
            for write in 0..WRITES {
                let user = User { id: writer * WRITES + write, name: "x".to_owned() };
                users.insert_one(user).await.expect("an insert");
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let number = usize::try_from(WRITERS * WRITES).expect("small");
    let mut changes = tail.take(number).await;
    for writer in writers {
        writer.await.expect("a writer");
    }
    changes.extend(tail.all().await);
    let expected = (0..WRITERS * WRITES).map(|id| format!("people {id} inserted -→x")).collect();
    assert_eq!(counted(told(&changes)), counted(expected));
}

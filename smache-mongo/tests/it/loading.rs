//! Loading and listing.

use std::sync::{Arc, Mutex};

use mongodb::{
    Client,
    bson::{Document, doc},
    event::{EventHandler, command::CommandEvent},
    options::{ClientOptions, CollectionOptions, ReadConcern, ReadPreference, SelectionCriteria},
};
use serde::{Deserialize, Serialize};
use smache_core::{DataSource, EntityType, ErrorKind, Image};
use smache_mongo::MongoSource;
use smache_testkit::servers::shared_mongo_uri;

use crate::world::{User, World, key};

fn names(images: &[Option<Image>]) -> Vec<Option<String>> {
    images.iter().map(|image| image.as_ref().map(|image| image.get::<User>().expect("a user").name.clone())).collect()
}

#[tokio::test]
async fn a_load_answers_in_order_whatever_is_absent_or_asked_for_twice() {
    let world = World::shared().await;
    for id in [3, 1, 2] {
        world.insert(id, &format!("user {id}")).await;
    }
    let images =
        world.source().load(&[key(2_i64), key(9_i64), key(1_i64), key(2_i64), key(3_i64)]).await.expect("a load");
    let user = |id: i64| Some(format!("user {id}"));
    assert_eq!(names(&images), [user(2), None, user(1), user(2), user(3)]);
    assert!(world.source().load(&[]).await.expect("a load of nothing").is_empty());
}

#[tokio::test]
async fn a_load_of_many_and_a_listing_give_everything() {
    const NUMBER: i64 = 1_100;
    let world = World::shared().await;
    let users: Vec<User> = (0..NUMBER).map(|id| User { id, name: format!("user {id}") }).collect();
    world.users.insert_many(&users).await.expect("inserts");

    let ids: Vec<i64> = (0..450).map(|number| number * 3).collect();
    let keys: Vec<_> = ids.iter().map(key).collect();
    let images = world.source().load(&keys).await.expect("a load");
    let expected: Vec<_> = ids.iter().map(|id| (*id < NUMBER).then(|| format!("user {id}"))).collect();
    assert_eq!(names(&images), expected);

    let listed = world.source().list().await.expect("a listing");
    let mut listed: Vec<User> =
        listed.iter().map(|image| image.get::<User>().expect("a user").as_ref().clone()).collect();
    listed.sort_by_key(|user| user.id);
    assert_eq!(listed, users);
}

#[tokio::test]
async fn a_collection_that_does_not_exist_is_empty() {
    let world = World::shared().await;
    assert_eq!(names(&world.source().load(&[key(1_i64)]).await.expect("a load")), [None]);
    assert!(world.source().list().await.expect("a listing").is_empty());
}

/// Of fields, which the server compares in their order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct PriceKey {
    product: i64,
    currency: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Price {
    #[serde(rename = "_id")]
    key: PriceKey,
    cents: i64,
}

impl EntityType for Price {
    type Id = PriceKey;
    const SOURCE: &'static str = "prices";

    fn id(&self) -> &PriceKey {
        &self.key
    }
}

#[tokio::test]
async fn the_id_may_be_a_document_of_fields() {
    let world = World::shared().await;
    let prices = world.documents("prices");
    let source = MongoSource::<Price>::new(&prices);
    let id = |product, currency: &str| PriceKey { product, currency: currency.to_owned() };
    let (feed, topic) = source.feed().expect("a feed");
    let mut stream = feed.open(&[topic], smache_core::Start::Now).await.expect("an open feed");
    let stored = doc! { "_id": { "product": 1_i64, "currency": "EUR" }, "cents": 100_i64 };
    prices.insert_one(stored).await.expect("an insert");
    let keys = [id(1, "USD"), id(1, "EUR")].map(key);
    let loaded = source.load(&keys).await.expect("a load");
    assert!(loaded[0].is_none(), "another currency");
    let price = loaded[1].as_ref().expect("it is there").get::<Price>().expect("a price");
    assert_eq!(*price, Price { key: id(1, "EUR"), cents: 100 });
    loop {
        let batch = stream.next().await.expect("a batch");
        if let Some(change) = batch.changes.first() {
            assert_eq!(change.key, keys[1]);
            break;
        }
    }
}

#[tokio::test]
async fn a_document_that_is_not_an_entity_is_an_error_that_names_it() {
    let world = World::shared().await;
    world.documents("users").insert_one(doc! { "_id": 7_i64, "nom": "Anna" }).await.expect("an insert");
    let source = world.source();
    for error in [source.load(&[key(7_i64)]).await.expect_err("no name"), source.list().await.expect_err("no name")] {
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let text = error.to_string();
        assert!(text.contains("id: 7") && text.contains(&format!("{}.users", world.db.name())), "{text}");
        assert!(error.report().contains("missing field `name`"), "{}", error.report());
    }
}

#[tokio::test]
async fn reads_go_to_the_primary_with_majority_whatever_the_handle_says() {
    let commands = Arc::new(Mutex::new(Vec::<Document>::new()));
    let seen = Arc::clone(&commands);
    let mut options = ClientOptions::parse(shared_mongo_uri()).await.expect("options");
    // On a direct connection the driver lets every member answer, so the preference would not show.
    options.direct_connection = Some(false);
    options.command_event_handler = Some(EventHandler::callback(move |event| {
        if let CommandEvent::Started(event) = event {
            seen.lock().expect("a lock").push(event.command);
        }
    }));
    let client = Client::with_options(options).expect("a client");
    let world = World::shared().await;
    let db = client.database(world.db.name());
    let handle = CollectionOptions::builder()
        .read_concern(ReadConcern::local())
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::SecondaryPreferred { options: None }))
        .build();
    let source = MongoSource::<User>::new(&db.collection_with_options::<Document>("users", handle));
    source.load(&[key(1_i64)]).await.expect("a load");
    source.list().await.expect("a listing");
    let (feed, topic) = source.feed().expect("a feed");
    feed.open(&[topic], smache_core::Start::Now).await.expect("an open feed");

    let commands = commands.lock().expect("a lock");
    let reads: Vec<_> =
        commands.iter().filter(|command| command.contains_key("find") || command.contains_key("aggregate")).collect();
    assert_eq!(reads.len(), 3, "{commands:?}");
    for read in reads {
        assert_eq!(read.get_document("readConcern").expect("a concern"), &doc! { "level": "majority" }, "{read}");
        let preference =
            read.get_document("$readPreference").map_or("primary", |read| read.get_str("mode").expect("a mode"));
        assert_eq!(preference, "primary", "{read}");
    }
}

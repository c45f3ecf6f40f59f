//! Code of the application that panics where the feed of a database reads what was written.

use mongodb::bson::{doc, oid::ObjectId};
use serde::{Deserialize, Deserializer, Serialize};
use smache::{Entity, Smache, backend::DataSource, computed, memory::Memory, mongo::MongoSource, redis::RedisSource};

use crate::{
    databases::{File, Rows, mongo},
    waits::until_result,
    world::patient_redis,
};

/// A name, of which one cannot be read.
#[derive(Debug, Clone, Serialize)]
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        assert_ne!(name, "Cerberus", "three heads do not fit");
        Ok(Self(name))
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, Entity)]
#[entity(source = "dogs")]
struct Dog {
    #[entity(id)]
    #[serde(rename = "_id")]
    id: i64,
    name: Name,
}

#[computed]
async fn call(dog: Entity<Dog>) -> String {
    format!("{}!", dog.name.0)
}

/// Puts a dog that cannot be read between two that can.
async fn feed_goes_on(source: impl DataSource, put: impl AsyncFn(i64, &str)) {
    put(1, "Rex").await;
    let builder = Smache::builder("kennel").backend(Memory::new()).source(source);
    let smache = builder.register::<call>().build().await.expect("a system");
    assert_eq!(*smache.get(call(1_i64)).await.expect("a value"), "Rex!");
    put(2, "Cerberus").await;
    put(1, "Max").await;
    let _worker = smache.worker().start();
    until_result(&smache, call(1_i64), |call| call == "Max!").await;
    let error = smache.get(call(2_i64)).await.expect_err("it cannot be read");
    assert!(error.report().contains("three heads do not fit"), "{}", error.report());
    put(1, "Bello").await;
    until_result(&smache, call(1_i64), |call| call == "Bello!").await;
    smache.shutdown().await;
}

#[tokio::test]
async fn a_document_of_mongodb_that_makes_its_reader_panic_does_not_end_the_feed() {
    let db = mongo().await;
    let dogs = db.collection::<Dog>("dogs");
    feed_goes_on(MongoSource::<Dog>::new(&dogs), async |id, name| {
        let dog = Dog { id, name: Name(name.to_owned()) };
        dogs.replace_one(doc! { "_id": id }, dog).upsert(true).await.expect("a write");
    })
    .await;
    db.drop().await.expect("the database is dropped");
}

/// The end of a statement that puts a dog into a table.
fn put(id: i64, name: &str) -> String {
    format!("VALUES ({id}, '{name}') ON CONFLICT (_id) DO UPDATE SET name = excluded.name")
}

#[tokio::test]
async fn a_row_of_postgresql_that_makes_its_reader_panic_does_not_end_the_feed() {
    let (rows, source) = Rows::create::<Dog>("_id bigint PRIMARY KEY, name text NOT NULL").await;
    feed_goes_on(source, async |id, name| rows.write(&put(id, name)).await).await;
    rows.remove::<Dog>().await;
}

#[tokio::test]
async fn a_row_of_sqlite_that_makes_its_reader_panic_does_not_end_the_feed() {
    let (file, source) = File::create::<Dog>("_id INTEGER PRIMARY KEY, name TEXT NOT NULL").await;
    feed_goes_on(source, async |id, name| file.write(&put(id, name)).await).await;
}

#[tokio::test]
async fn an_entity_in_redis_that_makes_its_reader_panic_does_not_end_the_feed() {
    let redis = patient_redis().await;
    let table = format!("dogs_{}", ObjectId::new().to_hex());
    let source = RedisSource::<Dog>::builder(&redis).table(table).build().expect("a good name");
    let dogs = source.clone();
    feed_goes_on(source, async |id, name| {
        dogs.put(&Dog { id, name: Name(name.to_owned()) }).await.expect("a write");
    })
    .await;
}

//! Code of the application that panics where the feed of a database reads what was written.

use mongodb::{
    Client,
    bson::{doc, oid::ObjectId},
};
use serde::{Deserialize, Deserializer, Serialize};
use smache::{
    Entity, Smache,
    backend::DataSource,
    computed,
    memory::Memory,
    mongo::MongoSource,
    postgres::PostgresSource,
    redis::RedisSource,
    sqlite::{
        SqliteSource,
        sqlx::{self, AssertSqlSafe, PgPool, SqlitePool, sqlite::SqliteConnectOptions},
    },
};
use smache_testkit::servers::{shared_mongo_uri, shared_postgres_url};

use crate::world::{patient_redis, until_result};

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
    until_result(&smache, || call(1_i64), "call of the dog behind the one that cannot be read", |call| call == "Max!")
        .await;
    let error = smache.get(call(2_i64)).await.expect_err("it cannot be read");
    assert!(error.report().contains("three heads do not fit"), "{}", error.report());
    put(1, "Bello").await;
    until_result(&smache, || call(1_i64), "call by the third name", |call| call == "Bello!").await;
    smache.shutdown().await;
}

#[tokio::test]
async fn a_document_of_mongodb_that_makes_its_reader_panic_does_not_end_the_feed() {
    let db = Client::with_uri_str(shared_mongo_uri()).await.expect("a client");
    let db = db.database(&format!("it_{}", ObjectId::new().to_hex()));
    let dogs = db.collection::<Dog>("dogs");
    feed_goes_on(MongoSource::<Dog>::new(&dogs), async |id, name| {
        let dog = Dog { id, name: Name(name.to_owned()) };
        dogs.replace_one(doc! { "_id": id }, dog).upsert(true).await.expect("a write");
    })
    .await;
    db.drop().await.expect("the database is dropped");
}

#[tokio::test]
async fn a_row_of_postgresql_that_makes_its_reader_panic_does_not_end_the_feed() {
    let pool = PgPool::connect(&shared_postgres_url()).await.expect("PostgreSQL");
    let table = format!("dogs_{}", ObjectId::new().to_hex());
    let run = async |statement: String| {
        sqlx::query(AssertSqlSafe(statement)).execute(&pool).await.expect("a statement");
    };
    run(format!("CREATE TABLE {table} (_id bigint PRIMARY KEY, name text NOT NULL)")).await;
    let source = || PostgresSource::<Dog>::new(&pool, &table);
    source().install().await.expect("triggers");
    feed_goes_on(source(), async |id, name| {
        run(format!(
            "INSERT INTO {table} VALUES ({id}, '{name}') ON CONFLICT (_id) DO UPDATE SET name = EXCLUDED.name"
        ))
        .await;
    })
    .await;
    source().uninstall().await.expect("nothing is left of the triggers");
    run(format!("DROP TABLE {table}")).await;
}

#[tokio::test]
async fn a_row_of_sqlite_that_makes_its_reader_panic_does_not_end_the_feed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = SqliteConnectOptions::new().filename(folder.path().join("kennel.db")).create_if_missing(true);
    let pool = SqlitePool::connect_with(file).await.expect("a file");
    let create = "CREATE TABLE dogs (_id INTEGER PRIMARY KEY, name TEXT NOT NULL)";
    sqlx::query(create).execute(&pool).await.expect("a table");
    let source = SqliteSource::<Dog>::new(&pool, "dogs");
    source.install().await.expect("triggers");
    feed_goes_on(source, async |id, name| {
        let put = "INSERT INTO dogs VALUES (?, ?) ON CONFLICT (_id) DO UPDATE SET name = excluded.name";
        sqlx::query(put).bind(id).bind(name).execute(&pool).await.expect("a write");
    })
    .await;
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

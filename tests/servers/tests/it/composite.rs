//! Entities that several columns name, from the derive to each database's feed.

use mongodb::{
    Client,
    bson::{doc, oid::ObjectId},
};
use serde::{Deserialize, Serialize};
use smache::{
    Cx, Entity, Result, Smache,
    backend::DataSource,
    computed,
    memory::{Memory, MemorySource},
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

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct PriceKey {
    product_id: i64,
    currency: String,
}

impl PriceKey {
    fn new(product_id: i64, currency: &str) -> Self {
        Self { product_id, currency: currency.to_owned() }
    }
}

/// A row of a table with two columns in its primary key.
#[derive(Debug, Clone, Serialize, Deserialize, Entity)]
#[entity(source = "prices")]
struct Price {
    #[entity(id)]
    #[serde(flatten)]
    key: PriceKey,
    cents: i64,
}

/// A document whose id is one.
#[derive(Debug, Clone, Serialize, Deserialize, Entity)]
#[entity(source = "price_documents")]
struct PriceDocument {
    #[entity(id)]
    #[serde(rename = "_id")]
    key: PriceKey,
    cents: i64,
}

#[computed]
async fn label(price: Entity<Price>) -> String {
    format!("{} {} of {}", price.cents, price.key.currency, price.key.product_id)
}

/// The entity is loaded by an id that the function makes itself; that there is none is an answer.
#[computed(reads(Price))]
async fn in_francs(cx: &Cx, product_id: i64) -> Result<Option<i64>> {
    Ok(cx.load::<Price>(&PriceKey::new(product_id, "CHF")).await?.map(|price| price.cents))
}

#[computed]
async fn document_label(price: Entity<PriceDocument>) -> String {
    format!("{} {} of {}", price.cents, price.key.currency, price.key.product_id)
}

async fn one_row_of_two_changes(source: impl DataSource, put: impl AsyncFn(PriceKey, i64)) {
    put(PriceKey::new(1, "EUR"), 100).await;
    put(PriceKey::new(1, "USD"), 110).await;
    let builder = Smache::builder("prices").backend(Memory::new()).source(source);
    let smache = builder.register::<label>().register::<in_francs>().build().await.expect("a system");
    let _worker = smache.worker().start();
    let get = async |currency| smache.get(label(PriceKey::new(1, currency))).await.expect("a label").to_string();
    assert_eq!((get("EUR").await, get("USD").await), ("100 EUR of 1".to_owned(), "110 USD of 1".to_owned()));
    assert_eq!(*smache.get(in_francs(1_i64)).await.expect("an answer"), None);
    put(PriceKey::new(1, "USD"), 120).await;
    until_result(&smache, || label(PriceKey::new(1, "USD")), "label of the new price", |label| label == "120 USD of 1")
        .await;
    put(PriceKey::new(1, "CHF"), 95).await;
    until_result(&smache, || in_francs(1_i64), "price in francs", |price| *price == Some(95)).await;
    assert!(smache.is_fresh(label(PriceKey::new(1, "EUR"))).await.expect("a look"), "another row of the product");
    smache.shutdown().await;
}

#[tokio::test]
async fn rows_of_postgresql_with_two_columns_in_their_key() {
    let pool = PgPool::connect(&shared_postgres_url()).await.expect("PostgreSQL");
    let table = format!("prices_{}", ObjectId::new().to_hex());
    let run = async |statement: String| {
        sqlx::query(AssertSqlSafe(statement)).execute(&pool).await.expect("a statement");
    };
    let columns = "product_id bigint, currency text, cents bigint NOT NULL, PRIMARY KEY (product_id, currency)";
    run(format!("CREATE TABLE {table} ({columns})")).await;
    let source = || PostgresSource::<Price>::new(&pool, &table);
    source().install().await.expect("triggers");
    one_row_of_two_changes(source(), async |key, cents| {
        let PriceKey { product_id, currency } = key;
        let conflict = "ON CONFLICT (product_id, currency) DO UPDATE SET cents = EXCLUDED.cents";
        run(format!("INSERT INTO {table} VALUES ({product_id}, '{currency}', {cents}) {conflict}")).await;
    })
    .await;
    source().uninstall().await.expect("nothing is left of the triggers");
    run(format!("DROP TABLE {table}")).await;
}

#[tokio::test]
async fn rows_of_sqlite_with_two_columns_in_their_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = SqliteConnectOptions::new().filename(folder.path().join("shop.db")).create_if_missing(true);
    let pool = SqlitePool::connect_with(file).await.expect("a file");
    let create = "CREATE TABLE prices (product_id INTEGER NOT NULL, currency TEXT NOT NULL, cents INTEGER NOT NULL, \
                  PRIMARY KEY (product_id, currency))";
    sqlx::query(create).execute(&pool).await.expect("a table");
    let source = SqliteSource::<Price>::new(&pool, "prices");
    source.install().await.expect("triggers");
    one_row_of_two_changes(source, async |key, cents| {
        let put = sqlx::query("INSERT OR REPLACE INTO prices VALUES (?, ?, ?)");
        put.bind(key.product_id).bind(key.currency).bind(cents).execute(&pool).await.expect("a write");
    })
    .await;
}

#[tokio::test]
async fn entities_in_redis_with_two_fields_in_their_id() {
    let redis = patient_redis().await;
    let table = format!("prices_{}", ObjectId::new().to_hex());
    let source = RedisSource::<Price>::builder(&redis).table(table).build().expect("a good name");
    let prices = source.clone();
    one_row_of_two_changes(source, async |key, cents| {
        prices.put(&Price { key, cents }).await.expect("a write");
    })
    .await;
}

#[tokio::test]
async fn entities_in_memory_with_two_fields_in_their_id() {
    let prices = MemorySource::<Price>::new();
    one_row_of_two_changes(prices.clone(), async |key, cents| {
        prices.insert(Price { key, cents }).expect("a write");
    })
    .await;
}

#[tokio::test]
async fn documents_of_mongodb_whose_id_is_a_document() {
    let db = Client::with_uri_str(shared_mongo_uri()).await.expect("a client");
    let db = db.database(&format!("it_{}", ObjectId::new().to_hex()));
    let prices = db.collection::<PriceDocument>("prices");
    let put = async |currency, cents| {
        let key = PriceKey::new(1, currency);
        let id = doc! { "product_id": key.product_id, "currency": &key.currency };
        prices.replace_one(doc! { "_id": id }, PriceDocument { key, cents }).upsert(true).await.expect("a write");
    };
    put("EUR", 100).await;
    put("USD", 110).await;
    let builder = Smache::builder("prices").backend(Memory::new()).source(MongoSource::<PriceDocument>::new(&prices));
    let smache = builder.register::<document_label>().build().await.expect("a system");
    let _worker = smache.worker().start();
    let call = |currency| document_label(PriceKey::new(1, currency));
    assert_eq!(*smache.get(call("EUR")).await.expect("a label"), "100 EUR of 1");
    assert_eq!(*smache.get(call("USD")).await.expect("a label"), "110 USD of 1");
    put("USD", 120).await;
    until_result(&smache, || call("USD"), "label of the new price", |label| label == "120 USD of 1").await;
    assert!(smache.is_fresh(call("EUR")).await.expect("a look"), "another document");
    smache.shutdown().await;
    db.drop().await.expect("the database is dropped");
}

//! Entities that several columns name, from the derive to each database's feed.

use mongodb::bson::{doc, oid::ObjectId};
use serde::{Deserialize, Serialize};
use smache::{
    Cx, Entity, Result, Smache,
    backend::DataSource,
    computed,
    memory::{Memory, MemorySource},
    mongo::MongoSource,
    redis::RedisSource,
};

use crate::{
    databases::{File, Rows, mongo},
    waits::until_result,
    world::patient_redis,
};

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
    until_result(&smache, label(PriceKey::new(1, "USD")), |label| label == "120 USD of 1").await;
    put(PriceKey::new(1, "CHF"), 95).await;
    until_result(&smache, in_francs(1_i64), |price| *price == Some(95)).await;
    assert!(smache.is_fresh(label(PriceKey::new(1, "EUR"))).await.expect("a look"), "another row of the product");
    smache.shutdown().await;
}

const COLUMNS: &str = "product_id BIGINT NOT NULL, currency TEXT NOT NULL, cents BIGINT NOT NULL, \
     PRIMARY KEY (product_id, currency)";

/// The end of a statement that puts a price into a table.
fn put(PriceKey { product_id, currency }: &PriceKey, cents: i64) -> String {
    let conflict = "ON CONFLICT (product_id, currency) DO UPDATE SET cents = excluded.cents";
    format!("VALUES ({product_id}, '{currency}', {cents}) {conflict}")
}

#[tokio::test]
async fn rows_of_postgresql_with_two_columns_in_their_key() {
    let (rows, source) = Rows::create::<Price>(COLUMNS).await;
    one_row_of_two_changes(source, async |key, cents| rows.write(&put(&key, cents)).await).await;
    rows.remove::<Price>().await;
}

#[tokio::test]
async fn rows_of_sqlite_with_two_columns_in_their_key() {
    let (file, source) = File::create::<Price>(COLUMNS).await;
    one_row_of_two_changes(source, async |key, cents| file.write(&put(&key, cents)).await).await;
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
    let db = mongo().await;
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
    until_result(&smache, call("USD"), |label| label == "120 USD of 1").await;
    assert!(smache.is_fresh(call("EUR")).await.expect("a look"), "another document");
    smache.shutdown().await;
    db.drop().await.expect("the database is dropped");
}

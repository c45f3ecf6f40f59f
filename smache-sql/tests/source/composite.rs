//! Entities that several columns name.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use smache_core::{ChangeKind, EntityKey, EntityType, ErrorKind, Field, Index, Snapshot};

use crate::world::{World, on_both};

on_both!(
    a_row_is_named_by_the_columns_of_its_primary_key,
    the_id_may_be_a_tuple_in_the_order_of_the_columns,
    a_unique_index_may_name_the_rows,
    rows_that_a_replace_removes_are_delivered,
    an_id_of_another_shape_is_an_error,
);

/// The id, with its fields in another order than the columns of the key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct PriceKey {
    currency: String,
    product_id: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Price {
    #[serde(flatten)]
    key: PriceKey,
    cents: i64,
}

impl EntityType for Price {
    type Id = PriceKey;
    const SOURCE: &'static str = "prices";

    fn id(&self) -> &PriceKey {
        &self.key
    }

    fn indexes() -> Vec<Index<Self>> {
        vec![Index::on(PRODUCT)]
    }
}

const PRODUCT: Field<Price, i64> = Field::new("product_id", |price| &price.key.product_id);

/// The same rows by a tuple.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "Price")]
struct Tupled((i64, String), i64);

impl From<Price> for Tupled {
    fn from(price: Price) -> Self {
        Self((price.key.product_id, price.key.currency), price.cents)
    }
}

impl EntityType for Tupled {
    type Id = (i64, String);
    const SOURCE: &'static str = "prices";

    fn id(&self) -> &(i64, String) {
        &self.0
    }
}

fn id(product_id: i64, currency: &str) -> PriceKey {
    PriceKey { currency: currency.to_owned(), product_id }
}

fn key(product_id: i64, currency: &str) -> EntityKey {
    EntityKey::encode(&id(product_id, currency)).expect("a key")
}

async fn prices(world: &World) -> String {
    let table = world.table("prices");
    world
        .run(&format!(
            "CREATE TABLE {table} (product_id BIGINT NOT NULL, currency TEXT NOT NULL, cents BIGINT NOT NULL,
             PRIMARY KEY (product_id, currency))"
        ))
        .await;
    table
}

async fn loaded<T: EntityType + DeserializeOwned + Clone>(world: &World, keys: &[EntityKey]) -> Vec<Option<T>> {
    let loaded = world.source_of::<T>("prices").plain().load(keys).await.expect("a load");
    loaded.iter().map(|image| image.as_ref().map(|image| (*image.get::<T>().expect("a price")).clone())).collect()
}

async fn a_row_is_named_by_the_columns_of_its_primary_key(world: World) {
    let table = prices(&world).await;
    let source = world.source_of::<Price>("prices");
    source.install().await.expect("install");
    let mut tail = source.tail().await;
    world.run(&format!("INSERT INTO {table} VALUES (1, 'EUR', 100), (1, 'USD', 110), (2, 'EUR', 50)")).await;
    world.run(&format!("UPDATE {table} SET cents = 120 WHERE product_id = 1 AND currency = 'USD'")).await;
    world.run(&format!("UPDATE {table} SET currency = 'CHF' WHERE product_id = 2")).await;
    world.run(&format!("DELETE FROM {table} WHERE product_id = 1 AND currency = 'EUR'")).await;
    let changes = tail.all().await;
    let told: Vec<_> = changes.iter().map(|change| (change.kind, change.key.clone())).collect();
    let expected = [
        (ChangeKind::Insert, key(1, "EUR")),
        (ChangeKind::Insert, key(1, "USD")),
        (ChangeKind::Insert, key(2, "EUR")),
        (ChangeKind::Update, key(1, "USD")),
        (ChangeKind::Delete, key(2, "EUR")),
        (ChangeKind::Insert, key(2, "CHF")),
        (ChangeKind::Delete, key(1, "EUR")),
    ];
    assert_eq!(told, expected);
    let Snapshot::Known(after) = &changes[3].after else { panic!("no image") };
    assert_eq!(*after.get::<Price>().expect("a price"), Price { key: id(1, "USD"), cents: 120 });

    let keys = [key(2, "CHF"), key(1, "EUR"), key(1, "USD"), key(2, "USD")];
    let cents: Vec<Option<i64>> =
        loaded::<Price>(&world, &keys).await.iter().map(|price| price.as_ref().map(|price| price.cents)).collect();
    assert_eq!(cents, [Some(50), None, Some(120), None]);
    let filter = PRODUCT.eq(1).into_filter().expect("a filter");
    assert_eq!(source.plain().find(&filter).await.expect("a find").len(), 1);
    assert_eq!(source.list().await.len(), 2);
    assert!(source.plain().examine().await.is_ok());
    // Thousands in a batch, as they are loaded by relations.
    let many: Vec<EntityKey> = (0..2_500).map(|product| key(product, "CHF")).collect();
    assert_eq!(loaded::<Price>(&world, &many).await.iter().flatten().count(), 1);
}

async fn the_id_may_be_a_tuple_in_the_order_of_the_columns(world: World) {
    let table = prices(&world).await;
    world.run(&format!("INSERT INTO {table} VALUES (1, 'EUR', 100), (1, 'it''s', 7)")).await;
    let keys = [(1, "it's"), (2, "EUR"), (1, "EUR")].map(|id| EntityKey::encode(&id).expect("a key"));
    let cents: Vec<Option<i64>> =
        loaded::<Tupled>(&world, &keys).await.iter().map(|price| price.as_ref().map(|price| price.1)).collect();
    assert_eq!(cents, [Some(7), None, Some(100)]);
}

async fn a_unique_index_may_name_the_rows(world: World) {
    let table = world.table("prices");
    world
        .run(&format!(
            "CREATE TABLE {table} (id BIGINT PRIMARY KEY, product_id BIGINT NOT NULL, currency TEXT NOT NULL,
             cents BIGINT NOT NULL, UNIQUE (currency, product_id));
             INSERT INTO {table} VALUES (1, 7, 'EUR', 100)"
        ))
        .await;
    let named = |columns: [&'static str; 2]| {
        world.built::<Tupled>("prices", |builder| builder.id_columns(columns), |builder| builder.id_columns(columns))
    };
    let source = named(["product_id", "currency"]);
    source.install().await.expect("install");
    let found = source.plain().load(&[EntityKey::encode(&(7, "EUR")).expect("a key")]).await.expect("a load");
    assert!(found[0].is_some());
    let error = named(["product_id", "cents"]).install().await.expect_err("not unique");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`product_id`, `cents`") && error.to_string().contains("unique"), "{error}");
}

async fn rows_that_a_replace_removes_are_delivered(world: World) {
    if world.is_postgres() {
        return;
    }
    world.run("CREATE TABLE prices (product_id BIGINT, currency VARCHAR(3), cents BIGINT UNIQUE, PRIMARY KEY (product_id, currency))").await;
    let source = world.source_of::<Price>("prices");
    source.install().await.expect("install");
    world.run("INSERT INTO prices VALUES (1, 'EUR', 100), (1, 'USD', 110), (2, 'EUR', 50)").await;
    let mut tail = source.tail().await;
    // In the way of the one by its key, and of the other by another index.
    world.run("INSERT OR REPLACE INTO prices VALUES (1, 'EUR', 50)").await;
    world.run("UPDATE OR REPLACE prices SET cents = 50 WHERE currency = 'USD'").await;
    let changes = tail.all().await;
    let told: Vec<_> = changes.iter().map(|change| (change.kind, change.key.clone())).collect();
    let expected = [
        (ChangeKind::Delete, key(2, "EUR")),
        (ChangeKind::Update, key(1, "EUR")),
        (ChangeKind::Delete, key(1, "EUR")),
        (ChangeKind::Update, key(1, "USD")),
    ];
    assert_eq!(told, expected);
}

#[derive(Deserialize)]
struct Single {
    product_id: i64,
}

impl EntityType for Single {
    type Id = i64;
    const SOURCE: &'static str = "prices";

    fn id(&self) -> &i64 {
        &self.product_id
    }
}

async fn an_id_of_another_shape_is_an_error(world: World) {
    let table = prices(&world).await;
    world.run(&format!("INSERT INTO {table} VALUES (1, 'EUR', 100)")).await;
    let source = world.source_of::<Single>("prices").plain();
    let load = source.load(&[EntityKey::encode(&1).expect("a key")]).await.expect_err("two columns");
    assert_eq!(load.kind(), ErrorKind::Argument);
    let list = source.list().await.expect_err("two columns");
    assert_eq!(list.kind(), ErrorKind::Corrupt);
    for error in [load, list] {
        let text = error.to_string();
        assert!(text.contains("`product_id`, `currency`") && text.contains("tuple in"), "{text}");
    }
}

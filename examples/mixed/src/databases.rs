//! The data of the shop: a table of PostgreSQL, a collection of MongoDB, and a list in this process.

use std::{env, error::Error};

use mongodb::{
    Client, Collection,
    bson::{doc, oid::ObjectId},
    options::ChangeStreamPreAndPostImages,
};
use smache::{
    Builder,
    memory::MemorySource,
    mongo::MongoSource,
    postgres::{
        PostgresSource,
        sqlx::{self, AssertSqlSafe, PgPool},
    },
};

use crate::{
    shop::{Discount, Order, Product},
    url::with_database,
};

pub struct Databases {
    /// A unique name for the table, the database and the namespace of this run.
    pub name: String,
    pub postgres: PgPool,
    pub products: Collection<Product>,
    pub discounts: MemorySource<Discount>,
}

pub fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("set {name}, or run it by `scripts/with-servers cargo run -p mixed`"))
}

impl Databases {
    pub async fn create() -> Result<Self, Box<dyn Error>> {
        let name = format!("mixed_{}", ObjectId::new().to_hex());
        let postgres = PgPool::connect(&variable("DATABASE_URL")?).await?;
        let db = Client::with_uri_str(variable("MONGODB_URI")?).await?.database(&name);
        let images = ChangeStreamPreAndPostImages::builder().enabled(true).build();
        db.create_collection("products").change_stream_pre_and_post_images(images).await?;
        let this =
            Self { name, postgres, products: db.collection("products"), discounts: MemorySource::without_feed() };
        this.sql("CREATE TABLE ORDERS (id bigint PRIMARY KEY, customer bigint, sku text, pieces bigint)").await?;
        this.orders().install().await?; // the triggers: with the migrations, once
        this.sql("INSERT INTO ORDERS VALUES (1, 7, 'tea', 2), (2, 7, 'cup', 1), (3, 8, 'tea', 5)").await?;
        this.products.insert_one(Product { sku: "tea".into(), cents: 350 }).await?;
        this.products.insert_one(Product { sku: "cup".into(), cents: 900 }).await?;
        this.discounts.insert(Discount { customer: 7, percent: 10 })?;
        Ok(this)
    }

    /// A database for the cache, beside the data.
    fn caches(&self) -> String {
        format!("{}_cache", self.name)
    }

    /// Its URL.
    pub fn caches_url(&self) -> Result<String, String> {
        Ok(with_database(&variable("MONGODB_URI")?, &self.caches()))
    }

    fn orders(&self) -> PostgresSource<Order> {
        PostgresSource::new(&self.postgres, &self.name)
    }

    /// The three sources, on every store.
    pub fn sources(&self, builder: Builder) -> Builder {
        builder
            .source(self.orders())
            .source(MongoSource::<Product>::builder(&self.products).pre_images(true).build())
            .source(self.discounts.clone())
    }

    /// A statement of another program on the table, which the statement calls `ORDERS`.
    pub async fn sql(&self, statement: &str) -> Result<(), sqlx::Error> {
        let statement = AssertSqlSafe(statement.replace("ORDERS", &self.name));
        sqlx::query(statement).execute(&self.postgres).await.map(drop)
    }

    pub async fn set_price(&self, sku: &str, cents: i64) -> Result<(), mongodb::error::Error> {
        self.products.update_one(doc! { "_id": sku }, doc! { "$set": { "cents": cents } }).await.map(drop)
    }

    pub async fn drop(self) -> Result<(), Box<dyn Error>> {
        self.orders().uninstall().await?;
        self.sql("DROP TABLE ORDERS").await?;
        let client = self.products.client().clone();
        client.database(&self.name).drop().await?;
        client.database(&self.caches()).drop().await?;
        // The driver ends its cursors in the background, and panics if the runtime ends first.
        client.shutdown().immediate(true).await;
        Ok(())
    }
}

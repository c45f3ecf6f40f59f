//! A shop: products and reviews in PostgreSQL, pages in Redis, a web server and workers in separate processes.
//!
//! It is written as a user of the library would write it. `tests/it` gives it bad days.

mod pages;
mod web;

use std::error::Error;

use serde::{Deserialize, Serialize};
use smache::{
    Builder, Smache,
    postgres::{PostgresSource, sqlx::PgPool},
    redis::Redis,
};

pub use self::{
    pages::{Page, Release, Stars},
    web::{Served, router},
};

/// A row of the table `products`.
#[derive(Debug, Clone, Serialize, Deserialize, smache::Entity)]
#[entity(source = "products")]
pub struct Product {
    /// The primary key.
    #[entity(id)]
    pub id: i64,
    /// Grows with every change.
    pub cents: i64,
}

/// A row of the table `reviews`.
#[derive(Debug, Clone, Serialize, Deserialize, smache::Entity)]
#[entity(source = "reviews")]
pub struct Review {
    /// The primary key.
    #[entity(id)]
    pub id: i64,
    /// Whose review it is.
    #[entity(index)]
    pub product_id: i64,
    /// One to five.
    pub stars: i64,
}

/// Makes the system of one process.
///
/// # Errors
/// The errors of the databases while it connects.
pub async fn build(database: &str, redis: &str, release: Release) -> Result<Smache, Box<dyn Error + Send + Sync>> {
    let pool = PgPool::connect(database).await?;
    let products = PostgresSource::<Product>::new(&pool, "products");
    let reviews = PostgresSource::<Review>::new(&pool, "reviews");
    products.install().await?;
    reviews.install().await?;
    let builder: Builder =
        Smache::builder("shop").backend(Redis::connect(redis).await?).source(products).source(reviews);
    Ok(release.register(builder).build().await?)
}

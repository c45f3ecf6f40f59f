//! One graph over three places: orders in PostgreSQL, products in MongoDB, discounts in the program itself. Its results
//! are in Redis and its jobs in PostgreSQL first; then the same program is moved through the other backends, one line
//! each.
//!
//! `scripts/with-servers cargo run -p mixed`, or with servers of yours:
//! `DATABASE_URL=postgres://… MONGODB_URI=mongodb://… REDIS_URL=redis://… cargo run -p mixed`

mod databases;
mod shop;
mod url;

use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use databases::{Databases, variable};
use shop::{Discount, invoice};
use smache::{Builder, Connect, Smache, connect};

/// Which functions ran.
#[derive(Clone, Default)]
pub struct Ran(Arc<Mutex<Vec<String>>>);

impl Ran {
    fn note(&self, what: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    fn take(&self) -> Vec<String> {
        let mut ran = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        ran.sort();
        ran
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let data = Databases::create().await?;
    let redis = variable("REDIS_URL")?;
    let postgres = variable("DATABASE_URL")?;
    let folder = tempfile::tempdir()?;

    println!("results in Redis, jobs in PostgreSQL");
    let mixed = Smache::builder(&data.name).store(connect(&redis).await?).queue(connect(&postgres).await?);
    let smache = run(&data, mixed).await?;
    println!("\nwhat `doctor` says of it\n{}", smache.inspect().doctor().await);
    smache.shutdown().await;

    // Moving is one line: the functions, the sources and the story stay the same.
    let name = |place: &str| format!("{}-{place}", data.name);
    for (place, builder) in [
        ("this process", Smache::builder(name("memory")).memory()),
        ("one file", Smache::builder(name("sqlite")).sqlite(folder.path().join("shop.db"))),
        ("PostgreSQL", Smache::builder(name("postgres")).postgres(postgres)),
        ("MongoDB", Smache::builder(name("mongo")).mongo(data.caches_url()?)),
        ("Redis", Smache::builder(name("redis")).redis(redis)),
    ] {
        println!("\nresults and jobs in {place}");
        run(&data, builder).await?.shutdown().await;
    }
    data.drop().await
}

/// The same on every backend: three changes, each in another place, and the functions that run after it.
async fn run(data: &Databases, builder: Builder) -> Result<Smache, Box<dyn Error>> {
    let ran = Ran::default();
    let smache = shop::register(data.sources(builder)).state(ran.clone()).build().await?;
    let worker = smache.worker().start();
    let shown = |what: &str, (one, two): (i64, i64)| {
        println!("  {what:<42} {one:>5} {two:>5}   ran: {}", ran.take().join(", "));
    };
    shown("first read", read(&smache).await?);

    data.sql("UPDATE ORDERS SET pieces = 3 WHERE id = 1").await?; // any client, any language
    shown("an order in PostgreSQL is changed", fresh(&smache, (1755, 1750)).await?);
    data.set_price("cup", 1000).await?;
    shown("a product in MongoDB gets another price", fresh(&smache, (1845, 1750)).await?);
    data.discounts.insert(Discount { customer: 8, percent: 20 })?;
    smache.changed::<Discount>(&8).await?; // only this program knows of it
    shown("the program grants a discount", fresh(&smache, (1845, 1400)).await?);

    worker.shutdown(Duration::from_secs(5)).await;
    // Restores the data for the next backend.
    data.sql("UPDATE ORDERS SET pieces = 2 WHERE id = 1").await?;
    data.set_price("cup", 900).await?;
    data.discounts.remove(&8)?;
    Ok(smache)
}

async fn read(smache: &Smache) -> smache::Result<(i64, i64)> {
    Ok((*smache.get(invoice(7)).await?, *smache.get(invoice(8)).await?))
}

/// Reads until the workers have caught up with the change: a reader gets the old value until then, at once.
async fn fresh(smache: &Smache, expected: (i64, i64)) -> Result<(i64, i64), Box<dyn Error>> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        let one = smache.get(invoice(7)).await?;
        let two = smache.get(invoice(8)).await?;
        if (*one, *two) == expected && one.is_fresh() && two.is_fresh() {
            return Ok((*one, *two));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err(format!("the invoices never became {expected:?}").into())
}

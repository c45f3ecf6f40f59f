//! The parts that both processes share: the entity, the computed function, and the setup of the system.

use std::{env, error::Error, time::Duration};

use mongodb::{Client, Database, bson::oid::ObjectId};
use serde::{Deserialize, Serialize};
use smache::{Entity, Smache, computed, mongo::MongoSource, redis::Redis};
use tokio::io::AsyncReadExt;

#[derive(Clone, Debug, Serialize, Deserialize, Entity)]
#[entity(source = "users")]
pub struct User {
    #[serde(rename = "_id")]
    #[entity(id)]
    pub id: ObjectId,
    pub name: String,
}

/// Slow, and a function of one document.
#[computed(ttl = "10m")]
pub async fn greeting(user: Entity<User>) -> String {
    tokio::time::sleep(Duration::from_secs(1)).await;
    format!("Hello, {}", user.name)
}

pub async fn database(name: &str) -> Result<Database, Box<dyn Error>> {
    let uri = env::var("MONGODB_URI").map_err(|_| "set MONGODB_URI to a MongoDB replica set")?;
    Ok(Client::with_uri_str(uri).await?.database(name))
}

pub async fn smache(name: &str, db: &Database) -> Result<Smache, Box<dyn Error>> {
    let url = env::var("REDIS_URL").map_err(|_| "set REDIS_URL to a Redis server")?;
    let users = db.collection::<User>("users");
    let smache = Smache::builder(name)
        .backend(Redis::connect(&url).await?)
        .source(MongoSource::<User>::new(&users))
        .register::<greeting>()
        .build()
        .await?;
    Ok(smache)
}

/// Ends the feeds, and then the driver: it ends its cursors in the background, and panics if the runtime ends first.
pub async fn stop(smache: Smache, db: &Database) {
    smache.shutdown().await;
    db.client().clone().shutdown().immediate(true).await;
}

/// The worker process: recomputes until its standard input is closed.
pub async fn work() -> Result<(), Box<dyn Error>> {
    let name = env::args().nth(2).ok_or("the worker needs the name of the run")?;
    let db = database(&name).await?;
    let smache = smache(&name, &db).await?;
    let worker = smache.worker().concurrency(8).start();
    let mut input = Vec::new();
    tokio::io::stdin().read_to_end(&mut input).await?;
    worker.shutdown(Duration::from_secs(5)).await;
    stop(smache, &db).await;
    Ok(())
}

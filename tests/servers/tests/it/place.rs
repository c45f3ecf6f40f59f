//! Where a world has its results, its jobs and its documents.

use std::path::Path;

use smache::postgres::sqlx::{self, AssertSqlSafe, PgPool};
use smache_server_tests::{Setup, Table};
use smache_testkit::servers::{shared_mongo_uri, shared_postgres_url, shared_redis_url};
use tokio::sync::Semaphore;

use crate::{raw_redis::raw_redis, url::with_database, world::World};

/// A story of several processes on MongoDB needs much of a small machine: more of them at once would test its speed.
pub(crate) static ON_MONGO: Semaphore = Semaphore::const_new(2);

/// A separate backend for each test on the servers that all tests share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Redis,
    /// A schema.
    Postgres,
    /// A file, which all processes open.
    Sqlite,
    /// A database beside the one of the documents.
    Mongo,
}

impl Place {
    /// The URL of that place, with that name and in that folder.
    pub(crate) fn url(self, name: &str, folder: &Path) -> String {
        match self {
            Self::Redis => shared_redis_url(),
            Self::Postgres => in_schema(&shared_postgres_url(), name),
            Self::Sqlite => format!("sqlite:{}", folder.join("smache.db").display()),
            Self::Mongo => with_database(&shared_mongo_uri(), &beside(name)),
        }
    }

    /// Makes what a connection does not make by itself.
    pub(crate) async fn create(self, name: &str) {
        if self == Self::Postgres {
            on_postgres(&format!("CREATE SCHEMA {name}")).await;
        }
    }
}

impl World {
    /// Results and jobs are there, and documents in MongoDB.
    pub(crate) async fn kept_in(place: Place) -> Self {
        Self::kept_apart(place, place).await
    }

    /// Results are in one place and jobs in another, and documents in MongoDB.
    pub(crate) async fn kept_apart(store: Place, queue: Place) -> Self {
        let mut world = Self::shared().await;
        if [store, queue].contains(&Place::Mongo) {
            world.turn = Some(ON_MONGO.acquire().await.expect("it stays open"));
        }
        let name = world.setup.namespace.clone();
        store.create(&name).await;
        world.setup.store = store.url(&name, world.folder.path());
        if queue != store {
            queue.create(&name).await;
            world.setup.queue = Some(queue.url(&name, world.folder.path()));
        }
        world
    }

    /// Results, jobs and documents are all in one SQL database.
    pub(crate) async fn all_in(place: Place) -> Self {
        let mut world = Self::kept_in(place).await;
        let table = Table::connect(&world.setup.store).await.expect("an SQL database");
        table.create().await.expect("a table with what its feed needs");
        world.setup.table = Some(world.setup.store.clone());
        world.table = Some(table);
        world
    }
}

/// Removes what a world had on servers that others use too.
pub(crate) async fn clear(setup: &Setup) {
    for url in [Some(&setup.store), setup.queue.as_ref()].into_iter().flatten() {
        match url.split_once(':').expect("a URL").0 {
            "redis" => clear_redis(url, &setup.namespace).await,
            "postgres" | "postgresql" => on_postgres(&format!("DROP SCHEMA {} CASCADE", setup.namespace)).await,
            "mongodb" => {
                let client = mongodb::Client::with_uri_str(url).await.expect("a client");
                client.database(&beside(&setup.namespace)).drop().await.expect("the database is dropped");
            }
            // The file goes with its folder.
            _ => {}
        }
    }
}

async fn clear_redis(url: &str, namespace: &str) {
    let mut redis = raw_redis(url).await;
    let keys: Vec<Vec<u8>> =
        redis::cmd("KEYS").arg(format!("*{namespace}*")).query_async(&mut redis).await.expect("keys");
    if !keys.is_empty() {
        redis::cmd("DEL").arg(keys).exec_async(&mut redis).await.expect("they are removed");
    }
}

async fn on_postgres(statement: &str) {
    let pool = PgPool::connect(&shared_postgres_url()).await.expect("PostgreSQL");
    sqlx::query(AssertSqlSafe(statement)).execute(&pool).await.expect(statement);
    pool.close().await;
}

fn in_schema(url: &str, schema: &str) -> String {
    let more = if url.contains('?') { '&' } else { '?' };
    format!("{url}{more}options=-c%20search_path%3D{schema}")
}

fn beside(name: &str) -> String {
    format!("{name}_cache")
}

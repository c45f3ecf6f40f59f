//! The backends side by side, each with the raw client of its server beside it.

use std::{env, sync::Arc};

use smache::{
    backend::Backend,
    memory::Memory,
    mongo::{
        Mongo,
        mongodb::{
            Client, Collection,
            bson::{Binary, Document, doc, spec::BinarySubtype},
        },
    },
    postgres::{Postgres, sqlx},
    redis::Redis,
    sqlite::Sqlite,
};
use sqlx::{PgPool, SqlitePool, sqlite::SqliteConnectOptions};

use crate::redis_url;

/// A backend, with the raw client of its server.
#[derive(Debug)]
pub struct Place {
    /// Its name in the table.
    pub name: &'static str,
    /// Both roles.
    pub backend: Arc<dyn Backend>,
    /// The raw client.
    pub raw: Raw,
}

/// A raw client: reads and writes a row of about the size of a record by its key.
#[derive(Debug)]
pub enum Raw {
    /// There is no server.
    Nothing,
    /// `GET` and `SET`.
    Redis(redis::aio::MultiplexedConnection),
    /// `find` and `replace` with an upsert, as durable as the backend.
    Mongo(Collection<Document>),
    /// `SELECT` and an upsert on a pool of the usual size.
    Postgres(PgPool),
    /// `SELECT` and an upsert, with the durability of the backend.
    Sqlite(SqlitePool),
}

const VALUE: &[u8] = &[b'x'; 200];
const READ: &str = "SELECT value FROM smache_bench WHERE id = $1";
const WRITE: &str = "INSERT INTO smache_bench VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET value = excluded.value";

impl Raw {
    /// Reads the row of [`write`](Self::write). Says whether there is a raw client.
    ///
    /// # Panics
    /// When the server fails.
    pub async fn read(&mut self) -> bool {
        let value: Vec<u8> = match self {
            Self::Nothing => return false,
            Self::Redis(connection) => {
                redis::cmd("GET").arg("smache_bench").query_async(connection).await.expect("GET")
            }
            Self::Mongo(rows) => {
                let row = rows.find_one(doc! { "_id": 1 }).await.expect("find").expect("a row");
                row.get_binary_generic("value").expect("its value").clone()
            }
            Self::Postgres(pool) => sqlx::query_scalar(READ).bind(1_i64).fetch_one(&*pool).await.expect("a row"),
            Self::Sqlite(pool) => sqlx::query_scalar(READ).bind(1_i64).fetch_one(&*pool).await.expect("a row"),
        };
        assert_eq!(value, VALUE);
        true
    }

    /// Writes a row, as durably as the server is configured to.
    ///
    /// # Panics
    /// When the server fails.
    pub async fn write(&mut self) -> bool {
        match self {
            Self::Nothing => return false,
            Self::Redis(connection) => {
                redis::cmd("SET").arg("smache_bench").arg(VALUE).exec_async(connection).await.expect("SET")
            }
            Self::Mongo(rows) => {
                let value = Binary { subtype: BinarySubtype::Generic, bytes: VALUE.to_vec() };
                let row = doc! { "_id": 1, "value": value };
                rows.replace_one(doc! { "_id": 1 }, row).upsert(true).await.expect("an upsert");
            }
            Self::Postgres(pool) => {
                sqlx::query(WRITE).bind(1_i64).bind(VALUE).execute(&*pool).await.expect("an upsert");
            }
            Self::Sqlite(pool) => {
                sqlx::query(WRITE).bind(1_i64).bind(VALUE).execute(&*pool).await.expect("an upsert");
            }
        }
        true
    }
}

/// Every backend, on the servers of `REDIS_URL`, `MONGODB_URI` and `DATABASE_URL`, and in a file of the folder.
///
/// # Panics
/// When one of them cannot be used.
pub async fn places(folder: &std::path::Path) -> Vec<Place> {
    let url = env::var("DATABASE_URL").expect("set DATABASE_URL, or run it by `scripts/with-servers`");
    let postgres = PgPool::connect(&url).await.expect("DATABASE_URL is a PostgreSQL");
    for sql in ["DROP TABLE IF EXISTS smache_bench", "CREATE TABLE smache_bench (id bigint PRIMARY KEY, value bytea)"] {
        sqlx::query(sql).execute(&postgres).await.expect("a table");
    }
    let options = SqliteConnectOptions::new().filename(folder.join("raw.db")).create_if_missing(true);
    let options = options.journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
    let sqlite = SqlitePool::connect_with(options.synchronous(sqlx::sqlite::SqliteSynchronous::Full)).await;
    let sqlite = sqlite.expect("a file");
    let table = "CREATE TABLE smache_bench (id INTEGER PRIMARY KEY, value BLOB)";
    sqlx::query(table).execute(&sqlite).await.expect("a table");
    let redis = Redis::connect(redis_url()).await.expect("REDIS_URL is a Redis");
    let file = Sqlite::open(folder.join("cache.db")).await.expect("a file");
    let mut places = vec![
        Place { name: "memory", backend: Arc::new(Memory::new()), raw: Raw::Nothing },
        Place { name: "redis", backend: Arc::new(redis), raw: Raw::Redis(crate::raw().await) },
        Place { name: "sqlite", backend: Arc::new(file), raw: Raw::Sqlite(sqlite) },
        Place {
            name: "postgres",
            backend: Arc::new(Postgres::connect(&url).await.expect("DATABASE_URL is a PostgreSQL")),
            raw: Raw::Postgres(postgres),
        },
    ];
    let uri = env::var("MONGODB_URI").expect("set MONGODB_URI, or run it by `scripts/with-servers`");
    let mongo = Client::with_uri_str(uri).await.expect("a client").database("smache_bench");
    mongo.drop().await.expect("the database is dropped");
    places.push(Place {
        name: "mongo",
        backend: Arc::new(Mongo::from_database(&mongo).await.expect("MONGODB_URI is a MongoDB")),
        raw: Raw::Mongo(mongo.collection("raw")),
    });
    for place in &mut places {
        place.raw.write().await;
    }
    places
}

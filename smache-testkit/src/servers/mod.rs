//! Servers for tests: the shared ones that `scripts/test` starts, and private ones that a test may kill, restart,
//! pause, protect with a password or configure badly.
//!
//! Most tests want [`shared_redis_url`], [`shared_mongo_uri`] and [`shared_postgres_url`] with their own prefix. A test
//! that needs to break its server starts a [`RedisServer`], a [`MongoServer`] or a [`PostgresServer`]:
//!
//! ```no_run
//! # async fn example() {
//! use smache_testkit::servers::RedisServer;
//!
//! let redis = RedisServer::builder().keep_data().start().await;
//! // … connect to redis.url(), write …
//! redis.kill().await; // as by a power cut
//! redis.restart().await; // the same port, the same data
//! # }
//! ```
//!
//! A MongoDB can be a set of three: [`MongoSet`]. A PostgreSQL can have a standby: [`PostgresServer::start_standby`].
//! [`ServerProcess::builder`] starts a private server of any other kind.
//!
//! All of it panics when something is missing or does not work: a missing server fails a test and never skips it. A
//! private server ends when it is dropped, and on Linux also when the test process is killed.

mod mongo;
mod ports;
mod postgres;
mod process;
mod recipe;
mod redis;

pub use self::mongo::{MongoServer, MongoServerBuilder, MongoSet};
pub use self::ports::free_port;
pub use self::postgres::{PostgresServer, PostgresServerBuilder};
pub use self::process::ServerProcess;
pub use self::recipe::{ServerBuilder, Started};
pub use self::redis::{RedisServer, RedisServerBuilder};

/// The URL of the Redis that the tests share, from `REDIS_URL`. Never flush it.
///
/// # Panics
/// Without that variable: run the tests by `scripts/test`, or under `scripts/with-servers`.
#[must_use]
pub fn shared_redis_url() -> String {
    shared("REDIS_URL", "Redis")
}

/// The URI of the MongoDB that the tests share, from `MONGODB_URI`. Use a separate database, and drop it.
///
/// # Panics
/// Without that variable: run the tests by `scripts/test`, or under `scripts/with-servers`.
#[must_use]
pub fn shared_mongo_uri() -> String {
    shared("MONGODB_URI", "MongoDB")
}

/// The URL of the PostgreSQL that the tests share, from `DATABASE_URL`. Use a separate namespace or schema.
///
/// # Panics
/// Without that variable: run the tests by `scripts/test`, or under `scripts/with-servers`.
#[must_use]
pub fn shared_postgres_url() -> String {
    shared("DATABASE_URL", "PostgreSQL")
}

fn shared(variable: &str, server: &str) -> String {
    match std::env::var(variable) {
        Ok(url) if !url.is_empty() => url,
        _ => panic!(
            "{variable} is not set: run the tests by `scripts/test` or under `scripts/with-servers`, or name a {server} in it"
        ),
    }
}

//! The cost of an idle system, without work or events, however much is stale: counted by the servers themselves.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};
use smache::{
    Cx, Entity, Smache,
    backend::{Backend, JobState, Namespace},
    computed,
    memory::MemorySource,
    postgres::{
        Postgres,
        sqlx::{
            Row,
            postgres::{PgPool, PgPoolOptions},
        },
    },
    redis::Redis,
    tag,
};
use smache_testkit::servers::{PostgresServer, RedisServer};

use crate::raw_redis::raw_redis;

/// How many entries are stale: a look at each of them every ten seconds would cost some times what is allowed below.
const STALE: u64 = 5_000;
/// For how long it is counted.
const QUIET: Duration = Duration::from_secs(12);

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "numbers")]
struct Number {
    #[entity(id)]
    id: u64,
}

#[computed]
async fn double(cx: &Cx, number: Entity<Number>) -> u64 {
    cx.depends_on(tag("everything")).expect("few dependencies");
    number.id * 2
}

/// A system with so many stale entries, each with its job, whose reconciler has looked at all of them once.
async fn idle_on(backend: impl Backend, name: &str) -> Smache {
    let numbers = MemorySource::<Number>::without_feed();
    for id in 0..STALE {
        numbers.insert(Number { id }).expect("a number is an id");
    }
    let smache = Smache::builder(name).backend(backend).source(numbers).register::<double>().build();
    let smache = smache.await.expect("a system");
    // A slow server may not have stored some of them: those are computed once more.
    while smache.inspect().stats().await.expect("stats").store.entries < STALE {
        for ids in (0..STALE).collect::<Vec<_>>().chunks(200) {
            for value in smache.get_many(ids.iter().map(|&id| double(id))).await {
                value.expect("computes");
            }
        }
    }
    smache.changed_tag("everything").await.expect("a change");
    assert_eq!(smache.inspect().stats().await.expect("stats").jobs.recompute, STALE);
    // Ten seconds until it begins, and a second for each 500.
    tokio::time::sleep(Duration::from_secs(12 + STALE / 500 * 3 / 2)).await;
    smache
}

/// How many commands the server has executed, those of scripts included.
async fn commands(raw: &mut MultiplexedConnection) -> u64 {
    let info: String = redis::cmd("INFO").arg("commandstats").query_async(raw).await.expect("INFO answers");
    let calls = info.lines().filter_map(|line| line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok());
    calls.sum()
}

#[tokio::test]
async fn redis_does_little_without_workers() {
    let server = RedisServer::start().await;
    let mut raw = raw_redis(&server.url()).await;
    let smache = idle_on(Redis::connect(&server.url()).await.expect("Redis"), "idle").await;
    let before = commands(&mut raw).await;
    tokio::time::sleep(QUIET).await;
    let each_second = (commands(&mut raw).await - before) / QUIET.as_secs();
    assert!(each_second < 200, "{each_second} commands a second");
    smache.shutdown().await;
}

/// Rows that were read, and rows that were written.
async fn rows(pool: &PgPool) -> (u64, u64) {
    let sql = "SELECT tup_fetched, tup_inserted + tup_updated + tup_deleted FROM pg_stat_database \
         WHERE datname = current_database()";
    let row = smache::postgres::sqlx::query(sql).fetch_one(pool).await.expect("numbers");
    let number = |place: usize| row.get::<i64, _>(place) as u64;
    (number(0), number(1))
}

#[tokio::test]
async fn postgres_does_little_without_workers() {
    let server = PostgresServer::start().await;
    let pool = PgPoolOptions::new().max_connections(1).connect(&server.url()).await.expect("PostgreSQL");
    let smache = idle_on(Postgres::connect(&server.url()).await.expect("PostgreSQL"), "idle").await;
    // The server does so by itself within a minute: without statistics of its tables it plans as if they were empty.
    smache::postgres::sqlx::query("ANALYZE").execute(&pool).await.expect("numbers of the tables");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = rows(&pool).await;
    tokio::time::sleep(QUIET).await;
    let after = rows(&pool).await;
    let [read, written] = [after.0 - before.0, after.1 - before.1].map(|rows| rows / QUIET.as_secs());
    assert!(read < 400 && written < 50, "{read} rows read and {written} written a second");
    smache.shutdown().await;
}

/// A job that is lost without any sign is found too.
#[tokio::test]
async fn lost_job_is_found_while_nothing_happens() {
    let server = RedisServer::start().await;
    let store = RedisServer::start().await;
    let queue = server;
    let numbers = MemorySource::<Number>::without_feed();
    numbers.insert(Number { id: 1 }).expect("a number is an id");
    let jobs = Redis::connect(&queue.url()).await.expect("Redis");
    let smache = Smache::builder("lost")
        .store(Redis::connect(&store.url()).await.expect("Redis"))
        .queue(jobs.clone())
        .source(numbers)
        .register::<double>()
        .build()
        .await
        .expect("a system");
    smache.get(double(1u64)).await.expect("computes");
    smache.changed_tag("everything").await.expect("a change");
    let jobs = jobs.queue(&Namespace::new("lost").expect("a good name")).expect("a queue");
    for emptied in [false, true] {
        let queued = jobs.list(JobState::Queued, None, 10).await.expect("a list").jobs;
        assert_eq!(queued.len(), 1);
        if emptied {
            let mut raw = raw_redis(&queue.url()).await;
            let () = redis::cmd("FLUSHALL").query_async(&mut raw).await.expect("it is emptied");
        } else {
            assert_eq!(jobs.discard(&[queued[0].id]).await.expect("discard"), 1);
        }
        let found = async {
            while jobs.counts().await.expect("counts").recompute == 0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), found).await.expect("the reconciler finds it");
    }
    smache.shutdown().await;
}

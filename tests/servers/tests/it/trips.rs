//! The cost of reads and computations on Redis, counted by the server itself.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};
use smache::{Entity, Smache, computed, memory::MemorySource, redis::Redis};
use smache_testkit::servers::RedisServer;

use crate::raw_redis::raw_redis;

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "numbers")]
struct Number {
    #[entity(id)]
    id: u64,
}

#[computed]
async fn double(number: Entity<Number>) -> u64 {
    number.id * 2
}

/// How often the server has read from a socket: once a round trip, when one client does one thing after the other.
async fn reads(raw: &mut MultiplexedConnection) -> u64 {
    let info: String = redis::cmd("INFO").arg("stats").query_async(raw).await.expect("INFO answers");
    let line = info.lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
    line.and_then(|number| number.trim().parse().ok()).expect("Redis counts its reads")
}

#[tokio::test]
async fn a_hit_is_one_round_trip_and_a_miss_is_three() {
    let server = RedisServer::start().await;
    let mut raw = raw_redis(&server.url()).await;
    let numbers = MemorySource::<Number>::without_feed();
    for id in 0..50 {
        numbers.insert(Number { id }).expect("a number is an id");
    }
    let smache = Smache::builder("trips")
        .backend(Redis::connect(&server.url()).await.expect("Redis"))
        .source(numbers)
        .register::<double>()
        .maintenance(false)
        .read_patience(Duration::from_secs(5))
        .build()
        .await
        .expect("a system");
    // The scripts are sent whole the first time.
    smache.get(double(0u64)).await.expect("computes");

    let before = reads(&mut raw).await;
    for id in 1..50u64 {
        smache.get(double(id)).await.expect("computes");
    }
    let misses = reads(&mut raw).await - before - 1;
    assert_eq!(misses, 3 * 49, "a miss is a look-up, a begin and a commit");

    let before = reads(&mut raw).await;
    for id in 0..50u64 {
        assert_eq!(*smache.get(double(id)).await.expect("a hit"), id * 2);
    }
    let hits = reads(&mut raw).await - before - 1;
    assert_eq!(hits, 50, "a hit is one round trip");

    let before = reads(&mut raw).await;
    for result in smache.get_many((0..50u64).map(double)).await {
        result.expect("a hit");
    }
    assert_eq!(reads(&mut raw).await - before - 1, 1, "many hits are one round trip together");
}

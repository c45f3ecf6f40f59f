//! The shared parts of the benchmarks: a system on a backend, trivial functions, and the raw client beside it.

mod lite;
mod places;

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use smache::{
    Cx, Entity, Smache,
    backend::Backend,
    computed,
    memory::{Memory, MemorySource},
    redis::Redis,
};

pub use self::lite::SqliteKeyValue;
pub use self::places::{Place, Raw, places};

/// An entity that only the benchmark itself changes.
#[derive(Clone, Debug, Serialize, Deserialize, Entity)]
#[entity(source = "items")]
pub struct Item {
    /// Its id.
    #[entity(id)]
    pub id: u64,
    /// Something to change.
    pub size: u64,
}

/// A trivial function of one item.
#[computed]
pub async fn size(item: Entity<Item>) -> u64 {
    item.size
}

/// One of many results that depend on one item.
#[computed]
pub async fn share(item: Entity<Item>, part: u64) -> u64 {
    item.size + part
}

/// Depends on the given number of items, dynamically.
#[computed]
pub async fn total(cx: &Cx, items: u64) -> Result<u64, smache::Failure> {
    let ids: Vec<u64> = (0..items).collect();
    let loaded = cx.load_many::<Item>(&ids).await?;
    Ok(loaded.iter().flatten().map(|item| item.size).sum())
}

/// Has the same value after most changes of its item.
#[computed]
pub async fn rounded(item: Entity<Item>) -> u64 {
    item.size / 1_000_000
}

/// A chain of calls that ends at a rounded item.
#[computed]
pub async fn link(cx: &Cx, length: u64) -> Result<u64, smache::Failure> {
    let below = if length <= 1 { cx.get(rounded(0u64)).await? } else { cx.get(link(length - 1)).await? };
    Ok(*below + 1)
}

/// One of many results that are made of a rounded item.
#[computed]
pub async fn leaf(cx: &Cx, part: u64) -> Result<u64, smache::Failure> {
    Ok(*cx.get(rounded(0u64)).await? + part)
}

/// A system with its items.
#[derive(Debug)]
pub struct World {
    /// The system.
    pub smache: Smache,
    /// Its data, without a feed: changes are reported by `changed`.
    pub items: MemorySource<Item>,
    namespace: String,
}

impl World {
    /// A system on a backend, with the given number of items.
    ///
    /// # Panics
    /// When the backend cannot be used.
    pub async fn on(backend: impl Backend, items: u64) -> Self {
        let source = MemorySource::<Item>::without_feed();
        for id in 0..items {
            source.insert(Item { id, size: id }).expect("a number is an id");
        }
        static WORLDS: AtomicU64 = AtomicU64::new(0);
        let namespace = format!("bench-{}-{}", std::process::id(), WORLDS.fetch_add(1, Ordering::Relaxed));
        let smache = Smache::builder(&namespace)
            .backend(backend)
            .source(source.clone())
            .register::<size>()
            .register::<share>()
            .register::<total>()
            .register::<rounded>()
            .register::<link>()
            .register::<leaf>()
            .store_timeout(Duration::from_secs(30))
            .build()
            .await
            .expect("the backend works");
        Self { smache, items: source, namespace }
    }

    /// The key of a record on Redis, for the raw client.
    ///
    /// # Panics
    /// When the function is not registered.
    pub fn record<F: smache::Computed>(&self, call: &smache::Call<F>) -> Vec<u8> {
        let id = self.smache.inspect().entry_id(call).expect("registered");
        [format!("{{{}}}:r:", self.namespace).as_bytes(), id.as_bytes()].concat()
    }

    /// A system in this process.
    ///
    /// # Panics
    /// Never: memory works.
    pub async fn memory(items: u64) -> Self {
        Self::on(Memory::new(), items).await
    }

    /// A system on the Redis of `REDIS_URL`.
    ///
    /// # Panics
    /// When `REDIS_URL` is not set or there is no Redis.
    pub async fn redis(items: u64) -> Self {
        Self::on(Redis::connect(&redis_url()).await.expect("REDIS_URL is a Redis"), items).await
    }
}

/// Scripts that the server ran, by its own count: every step of a run and of a change is one.
///
/// # Panics
/// When there is no Redis.
pub async fn scripts(raw: &mut redis::aio::MultiplexedConnection) -> u64 {
    let info: String = redis::cmd("INFO").arg("commandstats").query_async(raw).await.expect("INFO answers");
    let calls = |line: &str| line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok();
    info.lines().filter(|line| line.starts_with("cmdstat_evalsha")).filter_map(calls).sum()
}

/// The memory that the server uses, in bytes, by its own count.
///
/// # Panics
/// When there is no Redis.
pub async fn used_memory(raw: &mut redis::aio::MultiplexedConnection) -> u64 {
    let info: String = redis::cmd("INFO").arg("memory").query_async(raw).await.expect("INFO answers");
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    line.and_then(|number| number.trim().parse().ok()).expect("Redis counts its memory")
}

/// A line of a table: the name, the measurement, and the bar that it should reach.
#[expect(clippy::print_stdout, reason = "a benchmark prints what it measures")]
pub fn row(what: &str, measured: impl std::fmt::Display, bar: &str) {
    println!("{what:<66} {:>16} {bar:>16}", measured.to_string());
}

/// Microseconds, readable.
#[must_use]
pub fn micros(duration: Duration) -> String {
    format!("{:.2} µs", duration.as_secs_f64() * 1e6)
}

/// The middle of some samples.
#[must_use]
pub fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort_unstable();
    samples[samples.len() / 2]
}

/// How long something takes.
pub async fn time<T>(work: impl Future<Output = T>) -> Duration {
    let start = Instant::now();
    work.await;
    start.elapsed()
}

/// How long the threads of this process have run, by the count of the kernel.
#[must_use]
pub fn busy() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let ran = |thread: std::fs::DirEntry| {
        let line = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        line.split(' ').next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(threads.filter_map(ran).sum())
}

/// The server to measure.
///
/// # Panics
/// When `REDIS_URL` is not set.
#[must_use]
pub fn redis_url() -> String {
    env::var("REDIS_URL")
        .expect("set REDIS_URL, or run the benchmarks by `scripts/with-servers cargo bench -p smache-benches`")
}

/// The raw client, connected to the same server.
///
/// # Panics
/// When there is no Redis.
pub async fn raw() -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(redis_url()).expect("a good URL");
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(60)));
    client.get_multiplexed_async_connection_with_config(&config).await.expect("REDIS_URL is a Redis")
}

/// Calls a server has processed, by its own count.
///
/// # Panics
/// When there is no Redis.
pub async fn commands(raw: &mut redis::aio::MultiplexedConnection) -> u64 {
    let info: String = redis::cmd("INFO").arg("stats").query_async(raw).await.expect("INFO answers");
    let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
    line.and_then(|number| number.trim().parse().ok()).expect("Redis counts its commands")
}

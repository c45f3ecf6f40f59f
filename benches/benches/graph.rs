//! The cost of dependencies, in this run: `scripts/with-servers cargo bench -p smache-benches --bench graph`. Counts
//! are the server's own.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use smache_benches::{
    Item, World, leaf, link, median, micros, raw, rounded, row, scripts, share, time, total, used_memory,
};

#[tokio::main]
async fn main() {
    // `cargo test --benches` only checks that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    row("what", "measured", "bar");
    dynamic_dependencies().await;
    bytes_of_an_edge().await;
    cut_off_of_a_chain().await;
    cut_off_of_a_fan().await;
    for dependants in [1, 100, 10_000, 100_000] {
        invalidation(dependants).await;
    }
}

async fn dynamic_dependencies() {
    for dependencies in [0u64, 10, 100, 1000] {
        let world = World::redis(1000).await;
        let mut raw = raw().await;
        world.smache.refresh(total(dependencies)).await.expect("computes");
        let mut samples = Vec::new();
        let before = scripts(&mut raw).await;
        for _ in 0..50 {
            samples.push(time(world.smache.refresh(total(dependencies))).await);
        }
        let a_run = (scripts(&mut raw).await - before) as f64 / 50.0;
        row(&format!("run with {dependencies} dynamic dependencies on Redis, median"), micros(median(samples)), "");
        // Maintenance adds a few in the background.
        row("  round trips (begin, commit)", format!("{a_run:.1}"), "2");
    }
}

async fn bytes_of_an_edge() {
    const ENTRIES: u64 = 200;
    const EDGES: u64 = 1_000;
    let mut raw = raw().await;
    let world = World::redis(EDGES).await;
    let before = used_memory(&mut raw).await;
    // Each depends on one item more than the one before: most edges share their item with others, as in practice.
    for dependencies in EDGES - ENTRIES..EDGES {
        world.smache.get(total(dependencies)).await.expect("computes");
    }
    let edges: u64 = (EDGES - ENTRIES..EDGES).sum();
    let bytes = used_memory(&mut raw).await.saturating_sub(before) as f64 / edges as f64;
    row("memory of an edge on Redis, both ends", format!("{bytes:.0} bytes"), "");
}

/// How long it takes from a change until all results above it are fresh, and how many functions run meanwhile.
async fn cut_off(world: &World, what: &str, entries: u64) {
    let worker = world.smache.worker().concurrency(16).start();
    let mut samples = Vec::new();
    let before = world.smache.inspect().stats().await.expect("stats").process;
    for round in 0..10 {
        world.items.insert(Item { id: 0, size: round }).expect("a number is an id");
        samples.push(
            time(async {
                world.smache.changed::<Item>(&0).await.expect("acknowledged");
                while world.smache.inspect().stats().await.expect("stats").store.stale > 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
            .await,
        );
    }
    let after = world.smache.inspect().stats().await.expect("stats").process;
    worker.shutdown(Duration::from_secs(5)).await;
    row(&format!("{what}: from the change to all fresh, median"), micros(median(samples)), "");
    row("  functions run a change", format!("{:.1}", (after.runs - before.runs) as f64 / 10.0), "1");
    let spared = (after.cut_offs - before.cut_offs) as f64 / 10.0;
    row("  results found to be right without a run", format!("{spared:.1}"), &format!("{entries}"));
}

async fn cut_off_of_a_chain() {
    let world = World::redis(1).await;
    world.smache.get(link(8)).await.expect("computes");
    cut_off(&world, "early cut-off on a chain of 8", 8).await;
}

async fn cut_off_of_a_fan() {
    let world = World::redis(1).await;
    world.smache.get(rounded(0u64)).await.expect("computes");
    for chunk in (0..1_000u64).collect::<Vec<_>>().chunks(100) {
        for result in world.smache.get_many(chunk.iter().map(|&part| leaf(part))).await {
            result.expect("computes");
        }
    }
    cut_off(&world, "early cut-off on a fan of 1,000", 1_000).await;
}

async fn invalidation(dependants: u64) {
    let world = World::redis(1).await;
    for chunk in (0..dependants).collect::<Vec<_>>().chunks(500) {
        for result in world.smache.get_many(chunk.iter().map(|&part| share(0u64, part))).await {
            result.expect("computes");
        }
    }
    let mut raw = raw().await;
    log_slow_calls(&mut raw).await;
    let before = scripts(&mut raw).await;
    let took = time(world.smache.changed::<Item>(&0)).await;
    let steps = scripts(&mut raw).await - before;
    let longest = longest_call(&mut raw).await;
    let stats = world.smache.inspect().stats().await.expect("stats");
    assert_eq!(stats.store.stale, dependants, "all of them are stale");
    assert_eq!(stats.jobs.recompute, dependants, "and have a job");
    let bar = if dependants == 10_000 { "< 1000000 µs" } else { "" };
    row(&format!("one change with {dependants} dependants"), micros(took), bar);
    row("  round trips", steps, "");
    row("  longest call of the server", micros(longest), "< 10000 µs");
}

async fn log_slow_calls(raw: &mut MultiplexedConnection) {
    let mut set = redis::pipe();
    set.cmd("CONFIG").arg(&["SET", "slowlog-log-slower-than", "1000", "slowlog-max-len", "1000"]).ignore();
    set.cmd("SLOWLOG").arg("RESET").ignore();
    set.query_async::<()>(raw).await.expect("a Redis of one's own takes settings");
}

/// The longest call since the log began, by the server's own clock; nothing below a millisecond.
async fn longest_call(raw: &mut MultiplexedConnection) -> Duration {
    let calls: Vec<Vec<redis::Value>> =
        redis::cmd("SLOWLOG").arg(&["GET", "1000"]).query_async(raw).await.expect("SLOWLOG answers");
    let mut set = redis::cmd("CONFIG");
    set.arg(&["SET", "slowlog-log-slower-than", "10000"]).query_async::<()>(raw).await.expect("as before");
    let took = |call: &Vec<redis::Value>| match call.get(2) {
        Some(redis::Value::Int(micros)) => u64::try_from(*micros).unwrap_or_default(),
        _ => 0,
    };
    Duration::from_micros(calls.iter().map(took).max().unwrap_or_default())
}

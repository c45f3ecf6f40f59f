//! The bars of the project, each with the measurement of this run: `scripts/with-servers cargo bench -p smache-benches
//! --bench bars`. A ratio against the raw client is of the same run, with alternating samples.

use std::time::{Duration, Instant};

use smache_benches::{Item, World, commands, median, micros, raw, row, size, time, used_memory};

#[tokio::main]
async fn main() {
    // `cargo test --benches` only checks that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    row("what", "measured", "bar");
    hit_in_memory().await;
    hit_on_redis().await;
    miss().await;
    recomputations().await;
    change_to_fresh().await;
    memory_of_an_entry().await;
}

async fn hit_in_memory() {
    let world = World::memory(1).await;
    world.smache.get(size(0u64)).await.expect("computes");
    let mut samples = Vec::new();
    for _ in 0..200 {
        let batch = time(async {
            for _ in 0..100 {
                world.smache.get(size(0u64)).await.expect("a hit");
            }
        });
        samples.push(batch.await / 100);
    }
    row("warm hit in memory, median", micros(median(samples)), "< 2 µs");
}

async fn hit_on_redis() {
    let world = World::redis(1).await;
    world.smache.get(size(0u64)).await.expect("computes");
    let mut raw = raw().await;
    let key = world.record(&size(0u64));
    let mut command = redis::cmd("HMGET");
    command.arg(&key).arg(&["h", "s", "m", "v"]);
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for _ in 0..10_000 {
        theirs.push(time(raw.send_packed_command(&command)).await);
        ours.push(time(world.smache.get(size(0u64))).await);
    }
    let ours = median(ours);
    let theirs = median(theirs);
    row("raw HMGET of the record, median", micros(theirs), "");
    row("warm hit on Redis, median", micros(ours), "");
    row("  ratio", format!("{:.2}", ours.as_secs_f64() / theirs.as_secs_f64()), "<= 1.30");
    let before = commands(&mut raw).await;
    for _ in 0..100 {
        world.smache.get(size(0u64)).await.expect("a hit");
    }
    // Maintenance adds a few in the background.
    let a_hit = (commands(&mut raw).await - before) / 100;
    row("  commands a hit (TIME, HGETALL, HMGET in one pipeline)", a_hit, "3");
}

async fn miss() {
    let world = World::redis(2_000).await;
    let mut samples = Vec::new();
    for id in 0..2_000u64 {
        samples.push(time(world.smache.get(size(id))).await);
    }
    row("miss on Redis (3 round trips), median", micros(median(samples)), "");
}

async fn recomputations() {
    const ENTRIES: u64 = 20_000;
    let world = World::redis(ENTRIES).await;
    fill(&world, ENTRIES).await;
    world.smache.invalidate_function::<size>().await.expect("invalidates");
    let start = Instant::now();
    let worker = world.smache.worker().concurrency(64).batch(64).start();
    loop {
        let stats = world.smache.inspect().stats().await.expect("stats");
        if stats.store.stale == 0 && stats.jobs.recompute + stats.jobs.running == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rate = ENTRIES as f64 / start.elapsed().as_secs_f64();
    worker.shutdown(Duration::from_secs(5)).await;
    row("trivial recomputations through the queue, a second", format!("{rate:.0}"), ">= 2000");
}

async fn fill(world: &World, entries: u64) {
    for chunk in (0..entries).collect::<Vec<_>>().chunks(500) {
        for result in world.smache.get_many(chunk.iter().map(|&id| size(id))).await {
            result.expect("computes");
        }
    }
}

async fn change_to_fresh() {
    let world = World::redis(1).await;
    let worker = world.smache.worker().start();
    world.smache.get(size(0u64)).await.expect("computes");
    let mut samples = Vec::new();
    for round in 0..300 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        world.items.insert(Item { id: 0, size: round }).expect("a number is an id");
        let start = Instant::now();
        world.smache.changed::<Item>(&0).await.expect("acknowledged");
        while !world.smache.is_fresh(size(0u64)).await.expect("a look") {}
        samples.push(start.elapsed());
    }
    worker.shutdown(Duration::from_secs(5)).await;
    row("change to fresh, in-app trigger, idle worker, median", micros(median(samples)), "< 5000 µs");
}

async fn memory_of_an_entry() {
    const ENTRIES: u64 = 20_000;
    let mut raw = raw().await;
    let before = used_memory(&mut raw).await;
    let world = World::redis(ENTRIES).await;
    fill(&world, ENTRIES).await;
    let bytes = used_memory(&mut raw).await.saturating_sub(before) / ENTRIES;
    row("memory of an entry with 2 edges on Redis", format!("{bytes} bytes"), "");
}

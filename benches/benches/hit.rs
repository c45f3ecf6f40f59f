//! The cost of a hit: in memory, on Redis, and the raw client's `HMGET` of the same record beside it.

use criterion::{Criterion, criterion_group, criterion_main};
use smache_benches::{World, raw, size};
use tokio::runtime::Runtime;

fn memory(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let world = runtime.block_on(World::memory(1));
    runtime.block_on(world.smache.get(size(0u64))).expect("computes");
    criterion.bench_function("memory/get", |bench| {
        bench.to_async(&runtime).iter(|| async { world.smache.get(size(0u64)).await.expect("a hit") });
    });
}

fn redis(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let world = runtime.block_on(World::redis(100));
    let raw = runtime.block_on(raw());
    for id in 0..100u64 {
        runtime.block_on(world.smache.get(size(id))).expect("computes");
    }
    let key = world.record(&size(0u64));
    let mut group = criterion.benchmark_group("redis");
    group.bench_function("raw HMGET", |bench| {
        bench.to_async(&runtime).iter(|| {
            let mut raw = raw.clone();
            let key = &key;
            async move {
                let mut command = redis::cmd("HMGET");
                command.arg(key).arg(&["h", "s", "m", "v"]);
                raw.send_packed_command(&command).await.expect("Redis answers")
            }
        });
    });
    group.bench_function("get", |bench| {
        bench.to_async(&runtime).iter(|| async { world.smache.get(size(0u64)).await.expect("a hit") });
    });
    group.bench_function("get_many of 100", |bench| {
        bench.to_async(&runtime).iter(|| world.smache.get_many((0..100u64).map(size)));
    });
    group.finish();
}

criterion_group!(benches, memory, redis);
criterion_main!(benches);

//! The story of SMache in one process and without a server: `cargo run --example quickstart`.
//!
//! A slow function is computed once; when its data changes, a worker computes it again while readers go on reading.

#![expect(clippy::print_stdout, reason = "an example talks to people")]

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use smache::{
    Entity, Freshness, Smache, computed,
    memory::{Memory, MemorySource},
};

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "users")]
struct User {
    #[entity(id)]
    id: u64,
    name: String,
}

/// Slow, and a function of one user.
#[computed]
async fn greeting(user: Entity<User>) -> String {
    tokio::time::sleep(Duration::from_secs(2)).await;
    format!("Hello, {}", user.name)
}

#[tokio::main]
async fn main() -> Result<(), smache::Error> {
    let users = MemorySource::<User>::new();
    users.insert(User { id: 1, name: "John".into() })?;

    let smache = Smache::builder("quickstart")
        .backend(Memory::new())
        .source(users.clone())
        .register::<greeting>()
        .build()
        .await?;
    let worker = smache.worker().start();

    let hello = timed("first read, computed while we wait", smache.get(greeting(1u64))).await?;
    show(&hello);

    let hello = timed("second read, from the store", smache.get(greeting(1u64))).await?;
    show(&hello);

    println!("\n   the user is renamed; the feed sees it\n");
    users.insert(User { id: 1, name: "Johnny".into() })?;
    while smache.is_fresh(greeting(1u64)).await? {
        tokio::task::yield_now().await;
    }

    let hello =
        timed("read right after the change: at once, and known to be stale", smache.get(greeting(1u64))).await?;
    show(&hello);

    println!("\n   a worker computes it in the background\n");
    while !smache.is_fresh(greeting(1u64)).await? {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let hello = timed("read after the worker: at once, and new", smache.get(greeting(1u64))).await?;
    show(&hello);
    assert_eq!(hello, "Hello, Johnny".to_owned());

    worker.shutdown(Duration::from_secs(1)).await;
    smache.shutdown().await;
    Ok(())
}

async fn timed<T>(step: &str, work: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let result = work.await;
    println!("{:>10.1?}  {step}", start.elapsed());
    result
}

fn show(hello: &smache::Cached<String>) {
    let state = match hello.freshness() {
        Freshness::Fresh { .. } => "fresh",
        Freshness::Stale { .. } => "stale",
        _ => "unconfirmed",
    };
    println!("            \"{hello}\" ({state})");
}

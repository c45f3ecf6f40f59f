//! A custom backend: `cargo run --example custom_backend --features kv`.
//!
//! `log_store.rs` is the whole of it: a key-value store in one file. To reuse it, copy that file; it needs `smache`
//! with the feature `kv`, `async-trait`, `bytes` and `tokio`. The tests of `smache-kv` run the published suites on it.

#![expect(clippy::print_stdout, reason = "an example talks to people")]

mod log_store;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use smache::{Cx, Smache, backend::SystemClock, computed, kv::KvBackend, tag};

use crate::log_store::{Durability, LogStore};

static RUNS: AtomicU32 = AtomicU32::new(0);

#[computed]
async fn label(cx: &Cx, folder: PathBuf, product: String) -> Result<String, smache::Failure> {
    RUNS.fetch_add(1, Ordering::SeqCst);
    cx.depends_on(tag(&product))?;
    Ok(format!("{product}: {} cents", fs::read_to_string(folder.join(&product))?))
}

/// The start of a process.
async fn start(folder: &Path, durability: Durability) -> Result<Smache, smache::Error> {
    let store = LogStore::open(folder.join("cache.log"), durability, SystemClock)?;
    Smache::builder("shop").backend(KvBackend::new(store)).register::<label>().build().await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("smache-log-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("tea"), "350")?;
    let tea = || label(folder.clone(), "tea".to_owned());

    let smache = start(&folder, Durability::Disk).await?;
    println!("{}", smache.get(tea()).await?);
    fs::write(folder.join("tea"), "395")?;
    smache.changed_tag("tea").await?;
    smache.run_until_idle().await?;
    println!("{}", smache.get(tea()).await?);
    assert_eq!(RUNS.load(Ordering::SeqCst), 2);
    smache.shutdown().await;
    drop(smache);

    // The program starts again: the entry is in the file, and it is fresh.
    let smache = start(&folder, Durability::Disk).await?;
    let found = smache.peek(tea()).await?.ok_or("it was stored")?;
    println!("{} (fresh: {}, computed {} times)", *found, found.is_fresh(), RUNS.load(Ordering::SeqCst));
    assert_eq!((found.as_str(), found.is_fresh()), ("tea: 395 cents", true));
    assert_eq!(RUNS.load(Ordering::SeqCst), 2);
    smache.shutdown().await;
    drop(smache);

    // A store that does not know which batches a crash took has another incarnation when it is opened: the reader gets
    // the value, but it is not fresh before a worker has computed it again.
    let smache = start(&folder, Durability::System).await?;
    let found = smache.peek(tea()).await?.ok_or("it was stored")?;
    println!("{} (fresh: {})", *found, found.is_fresh());
    assert_eq!((found.as_str(), found.is_fresh()), ("tea: 395 cents", false));
    smache.run_until_idle().await?;
    assert!(smache.is_fresh(tea()).await? && RUNS.load(Ordering::SeqCst) == 3);
    smache.shutdown().await;

    fs::remove_dir_all(folder)?;
    Ok(())
}

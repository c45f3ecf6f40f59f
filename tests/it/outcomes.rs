//! Every outcome of a nested call is a dependency: errors, refusals and calls that the caller drops.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use smache::{
    Cx, Entity, Result, Smache, State,
    backend::ManualClock,
    computed,
    memory::{Memory, MemorySource},
};
use tokio::sync::Notify;

use crate::{
    faulty::{Fault, memory},
    tasks::spawn_get,
    waits::until_result,
};

#[derive(Clone, Debug, Serialize, Deserialize, Entity)]
#[entity(source = "stocks")]
struct Stock {
    #[entity(id)]
    id: u64,
    pieces: u64,
}

/// The trouble that makes the functions fail.
#[derive(Clone, Default)]
struct Trouble {
    panics: Arc<AtomicBool>,
    /// Of `slow`: it waits for it.
    gate: Arc<Mutex<Option<Arc<Notify>>>>,
    runs: Arc<AtomicU64>,
}

#[derive(Debug, thiserror::Error)]
#[error("sold out")]
struct SoldOut;

#[computed]
async fn pieces(stock: Entity<Stock>) -> Result<u64, SoldOut> {
    if stock.pieces == 0 { Err(SoldOut) } else { Ok(stock.pieces) }
}

/// Between the one that fails and the one that tolerates it.
#[computed]
async fn offered(cx: &Cx, id: u64) -> Result<u64> {
    Ok(*cx.get(pieces(id)).await?)
}

/// Tolerates whatever happens to its child.
#[computed]
async fn label(cx: &Cx, trouble: State<Trouble>, id: u64) -> Result<String> {
    trouble.runs.fetch_add(1, Ordering::SeqCst);
    Ok(cx.get(offered(id)).await.map_or_else(|_| "none".to_owned(), |pieces| format!("{} pieces", *pieces)))
}

#[computed]
async fn shaky(stock: Entity<Stock>, trouble: State<Trouble>) -> u64 {
    assert!(!trouble.panics.load(Ordering::SeqCst), "shaken");
    stock.pieces
}

#[computed]
async fn steady(cx: &Cx, id: u64) -> Result<u64> {
    Ok(cx.get(shaky(id)).await.map_or(0, |pieces| *pieces))
}

#[computed]
async fn slow(stock: Entity<Stock>, trouble: State<Trouble>) -> u64 {
    let gate = trouble.gate.lock().expect("no panic under it").clone();
    if let Some(gate) = gate {
        gate.notified().await;
    }
    stock.pieces
}

#[computed]
async fn hasty(cx: &Cx, id: u64) -> Result<u64> {
    let child = tokio::time::timeout(Duration::from_millis(100), cx.get(slow(id))).await;
    Ok(match child {
        Ok(pieces) => *pieces?,
        Err(_) => 0,
    })
}

#[computed]
async fn tolerant_of_itself(cx: &Cx, depth: u64) -> Result<u64> {
    if depth == 0 {
        return Ok(cx.get(tolerant_of_itself(1)).await.map_or(0, |inner| *inner));
    }
    Ok(*cx.get(tolerant_of_itself(0)).await?)
}

struct Shop {
    smache: Smache,
    stocks: MemorySource<Stock>,
    trouble: Trouble,
}

async fn shop_on(backend: impl smache::backend::Backend) -> Result<Shop> {
    let stocks = MemorySource::<Stock>::new();
    let trouble = Trouble::default();
    let smache = Smache::builder("shop")
        .backend(backend)
        .source(stocks.clone())
        .state(trouble.clone())
        .register::<pieces>()
        .register::<offered>()
        .register::<label>()
        .register::<shaky>()
        .register::<steady>()
        .register::<slow>()
        .register::<hasty>()
        .register::<tolerant_of_itself>()
        .build()
        .await?;
    Ok(Shop { smache, stocks, trouble })
}

async fn shop() -> Result<Shop> {
    shop_on(Memory::builder().clock(Arc::new(ManualClock::default())).build()).await
}

#[tokio::test]
async fn a_child_that_is_gone_is_what_its_parent_depends_on() -> Result<()> {
    let Shop { smache, stocks, .. } = shop().await?;
    assert_eq!(*smache.get(label(1)).await?, "none");
    assert!(smache.is_fresh(label(1)).await?, "that there is no such stock is data");
    stocks.insert(Stock { id: 1, pieces: 3 })?;
    smache.run_until_idle().await?;
    let stored = smache.peek(label(1)).await?.expect("stored");
    assert_eq!((stored.as_str(), stored.is_fresh()), ("3 pieces", true));
    stocks.remove(&1)?;
    smache.run_until_idle().await?;
    assert_eq!(*smache.get(label(1)).await?, "none");
    stocks.insert(Stock { id: 1, pieces: 4 })?;
    smache.run_until_idle().await?;
    assert_eq!(*smache.get(label(1)).await?, "4 pieces");
    Ok(())
}

#[tokio::test]
async fn the_error_of_a_child_is_what_its_parent_depends_on() -> Result<()> {
    let Shop { smache, stocks, trouble } = shop().await?;
    stocks.insert(Stock { id: 1, pieces: 0 })?;
    assert_eq!(*smache.get(label(1)).await?, "none");
    assert!(smache.is_fresh(label(1)).await?);
    stocks.insert(Stock { id: 1, pieces: 3 })?;
    smache.run_until_idle().await?;
    let stored = smache.peek(label(1)).await?.expect("stored");
    assert_eq!((stored.as_str(), stored.is_fresh()), ("3 pieces", true));
    // And back: the child has a stored value now, and fails again.
    stocks.insert(Stock { id: 1, pieces: 0 })?;
    smache.run_until_idle().await?;
    let stored = smache.peek(label(1)).await?.expect("stored");
    assert_eq!((stored.as_str(), stored.is_fresh()), ("none", true));
    let runs = trouble.runs.load(Ordering::SeqCst);
    smache.run_until_idle().await?;
    assert_eq!(trouble.runs.load(Ordering::SeqCst), runs, "what data explain is not tried again");
    Ok(())
}

#[tokio::test]
async fn an_error_of_a_run_that_another_reader_began_is_looked_at_again() -> Result<()> {
    let Shop { smache, stocks, .. } = shop().await?;
    for round in 0..200 {
        stocks.insert(Stock { id: round, pieces: 0 })?;
        let fails = spawn_get(&smache, offered(round));
        let tolerates = spawn_get(&smache, label(round));
        tokio::task::yield_now().await;
        stocks.insert(Stock { id: round, pieces: 5 })?;
        // It may have begun before the change.
        let _ = fails.await.expect("no panic");
        tolerates.await.expect("no panic")?;
        smache.run_until_idle().await?;
        let stored = smache.peek(label(round)).await?.expect("stored");
        assert_eq!((stored.as_str(), stored.is_fresh()), ("5 pieces", true), "round {round}");
    }
    Ok(())
}

#[tokio::test]
async fn the_panic_of_a_child_makes_its_parent_run_again() -> Result<()> {
    let Shop { smache, stocks, trouble } = shop().await?;
    stocks.insert(Stock { id: 1, pieces: 3 })?;
    trouble.panics.store(true, Ordering::SeqCst);
    assert_eq!(*smache.get(steady(1)).await?, 0);
    assert!(!smache.is_fresh(steady(1)).await?, "no data explain it");
    trouble.panics.store(false, Ordering::SeqCst);
    assert_eq!(*smache.get(steady(1).fresh()).await?, 3);
    assert!(smache.is_fresh(steady(1)).await?);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_nested_call_that_is_given_up_makes_its_parent_run_again() -> Result<()> {
    let Shop { smache, stocks, trouble } = shop_on(memory().0).await?;
    stocks.insert(Stock { id: 1, pieces: 3 })?;
    let gate = Arc::new(Notify::new());
    *trouble.gate.lock().expect("no panic under it") = Some(Arc::clone(&gate));
    assert_eq!(*smache.get(hasty(1)).await?, 0);
    assert!(!smache.is_fresh(hasty(1)).await?, "its child is not computed yet");
    *trouble.gate.lock().expect("no panic under it") = None;
    gate.notify_waiters();
    let worker = smache.worker().start();
    until_result(&smache, hasty(1), |stored| *stored == 3).await;
    worker.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

#[tokio::test]
async fn a_cycle_that_is_tolerated_leaves_nothing_fresh() -> Result<()> {
    let Shop { smache, .. } = shop().await?;
    assert_eq!(*smache.get(tolerant_of_itself(0)).await?, 0);
    assert!(!smache.is_fresh(tolerant_of_itself(0)).await?);
    Ok(())
}

/// A store that hiccups between the begin of a parent and the look at its child.
#[tokio::test(start_paused = true)]
async fn a_hiccup_of_the_store_makes_the_parent_run_again() -> Result<()> {
    let (backend, faults) = memory();
    let Shop { smache, stocks, .. } = shop_on(backend).await?;
    stocks.insert(Stock { id: 1, pieces: 3 })?;
    faults.times("read_record", Fault::Unavailable, 1);
    assert_eq!(*smache.get(label(1)).await?, "3 pieces", "the child is computed without the store");
    assert!(!smache.is_fresh(label(1)).await?);
    stocks.insert(Stock { id: 1, pieces: 4 })?;
    let worker = smache.worker().start();
    until_result(&smache, label(1), |stored| *stored == "4 pieces").await;
    worker.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

/// A store that is full refuses to begin, and takes nothing.
#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_to_begin_is_no_error_to_readers_of_nested_calls() -> Result<()> {
    let (backend, faults) = memory();
    let Shop { smache, stocks, .. } = shop_on(backend).await?;
    stocks.insert(Stock { id: 1, pieces: 3 })?;
    faults.on("begin", Fault::Unavailable);
    assert_eq!(*smache.get(label(1)).await?, "3 pieces");
    faults.heal();
    assert_eq!(*smache.get(label(1)).await?, "3 pieces");
    Ok(())
}

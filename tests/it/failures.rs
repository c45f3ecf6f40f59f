//! Functions that fail: the errors of readers, and the values that stay.

use std::time::Duration;

use smache::{ErrorKind, Freshness, Result};
use tokio::time::Instant;

use crate::{
    functions::{greeting, hurried},
    probe::{Act, Refused, until_stale, work_until_fresh},
    tasks::spawn_refresh,
    world::{User, World},
};

/// Below every lease: a failed run gives its lease back at once.
const AT_ONCE: Duration = Duration::from_secs(1);

/// An error without a stored value is the reader's; nothing is stored, and the next reader computes at once.
async fn an_error_gives_the_lease_back_at_once(world: &World) -> Result<()> {
    let smache = world.with_user("Anna").await?;
    let begin = Instant::now();
    world.probe.act(Act::Fail);
    let error = smache.get(greeting(1)).await.expect_err("it fails");
    assert_eq!(error.function_error::<Refused>(), Some(&Refused("greeting 1".to_owned())));
    assert!(!error.is_transient());
    assert_eq!(smache.inspect().stats().await?.store.running, 0);
    world.probe.act(Act::Succeed);
    assert!(smache.get(greeting(1)).await?.is_fresh());
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    assert_eq!(world.probe.runs(), 2);
    smache.shutdown().await;
    Ok(())
}

/// So does a panic, which the reader gets as an error with its text.
async fn a_panic_gives_the_lease_back_at_once(world: &World) -> Result<()> {
    let smache = world.with_user("Anna").await?;
    let begin = Instant::now();
    world.probe.act(Act::Panic);
    let error = smache.get(greeting(1)).await.expect_err("it panics");
    assert_eq!(error.kind(), ErrorKind::Panicked);
    assert!(error.to_string().contains("a fly in greeting 1") && error.to_string().contains("`greeting`"), "{error}");
    assert_eq!(smache.inspect().stats().await?.store.running, 0);
    world.probe.act(Act::Succeed);
    assert!(smache.get(greeting(1)).await?.is_fresh());
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    smache.shutdown().await;
    Ok(())
}

/// So does a timeout.
async fn a_timeout_gives_the_lease_back_at_once(world: &World) -> Result<()> {
    let smache = world.with_user("Anna").await?;
    let begin = Instant::now();
    world.probe.act(Act::Sleep(Duration::from_secs(3_600)));
    let error = smache.get(hurried(1)).await.expect_err("it takes too long");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("`hurried`") && error.to_string().contains("500ms"), "{error}");
    assert_eq!(world.probe.under_way(), 0, "the run is dropped");
    world.probe.act(Act::Succeed);
    assert!(smache.get(hurried(1)).await?.is_fresh());
    assert!(begin.elapsed() < Duration::from_millis(500) + AT_ONCE, "{:?}", begin.elapsed());
    smache.shutdown().await;
    Ok(())
}

/// The last good value stays, and readers get it.
async fn a_stale_value_outlives_a_failing_function(world: &World) -> Result<()> {
    let smache = world.with_greeting().await?;
    let key = smache.inspect().entry_id(&greeting(1))?;
    world.put(1, "Annie").await?;
    until_stale(&smache, greeting(1)).await?;
    for (failures, act) in [(1, Act::Fail), (2, Act::Panic)] {
        world.probe.act(act);
        let error = smache.refresh(greeting(1)).await.expect_err("it fails");
        let kind = if act == Act::Fail { ErrorKind::Function } else { ErrorKind::Panicked };
        assert_eq!(error.kind(), kind);
        let stale = smache.get(greeting(1)).await?;
        assert_eq!(*stale, "Hello, Anna");
        assert!(matches!(stale.freshness(), Freshness::Stale { .. }));
        let record = smache.inspect().record(&key).await?.expect("it stays");
        assert_eq!(record.failures, failures);
        let failure = record.last_failure.expect("recorded");
        assert_eq!(failure.message, error.report());
    }
    world.probe.act(Act::Succeed);
    assert_eq!(*smache.refresh(greeting(1)).await?, "Hello, Annie");
    let record = smache.inspect().record(&key).await?.expect("stored");
    assert_eq!((record.failures, record.last_failure), (0, None), "forgotten with the first success");
    assert_eq!(smache.inspect().stats().await?.process.failures, 2);
    smache.shutdown().await;
    Ok(())
}

/// A failed refresh of a fresh value takes nothing from it.
async fn a_fresh_value_outlives_a_failed_refresh(world: &World) -> Result<()> {
    let smache = world.with_greeting().await?;
    world.probe.act(Act::Fail);
    smache.refresh(greeting(1)).await.expect_err("it fails");
    assert!(smache.get(greeting(1)).await?.is_fresh());
    assert_eq!(smache.run_until_idle().await?, 0, "nothing to compute");
    assert_eq!(world.probe.runs(), 2);
    smache.shutdown().await;
    Ok(())
}

/// A stale value whose reader failed still is a worker's.
async fn a_failed_reader_leaves_the_work_to_the_workers(world: &World) -> Result<()> {
    let smache = world.with_greeting().await?;
    world.put(1, "Annie").await?;
    until_stale(&smache, greeting(1)).await?;
    world.probe.act(Act::Fail);
    smache.refresh(greeting(1)).await.expect_err("it fails");
    world.probe.act(Act::Succeed);
    assert_eq!(*work_until_fresh(&smache, greeting(1)).await?, "Hello, Annie");
    smache.shutdown().await;
    Ok(())
}

on_every_world! {
    an_error_gives_the_lease_back_at_once,
    a_panic_gives_the_lease_back_at_once,
    a_timeout_gives_the_lease_back_at_once,
    a_stale_value_outlives_a_failing_function,
    a_fresh_value_outlives_a_failed_refresh,
    a_failed_reader_leaves_the_work_to_the_workers,
}

#[tokio::test(start_paused = true)]
async fn a_failing_function_is_not_run_by_every_reader_of_a_stale_value() -> Result<()> {
    let world = World::attached();
    let smache = world.with_greeting().await?;
    smache.changed::<User>(&1).await?;
    world.probe.act(Act::Fail);
    for _ in 0..100 {
        assert_eq!(*smache.get(greeting(1)).await?, "Hello, Anna");
    }
    assert_eq!(world.probe.runs(), 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_change_during_a_run_that_fails_is_not_lost() -> Result<()> {
    let world = World::attached();
    let smache = world.with_greeting().await?;
    world.probe.close();
    world.probe.act(Act::Fail);
    let refresh = spawn_refresh(&smache, greeting(1));
    world.probe.arrived(2).await;
    world.put(1, "Annie").await?;
    smache.changed::<User>(&1).await?;
    world.probe.open();
    refresh.await.expect("it does not panic").expect_err("it fails");
    assert!(!smache.is_fresh(greeting(1)).await?);
    world.probe.act(Act::Succeed);
    smache.run_until_idle().await?;
    assert_eq!(*smache.get(greeting(1)).await?, "Hello, Annie");
    Ok(())
}

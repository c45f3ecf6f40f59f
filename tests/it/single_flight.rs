//! Single flight: many readers, one computation.

use std::time::Duration;

use futures_util::future::join_all;
use smache::{Cached, ErrorKind, Result};
use tokio::task::JoinHandle;

use crate::{
    faulty::{Fault, memory},
    functions::{greeting, square},
    probe::{Act, Refused, until},
    tasks::{spawn_get, spawn_gets},
    waits::until_fresh,
    world::{User, World},
};

async fn all_get(readers: Vec<JoinHandle<Result<Cached<String>>>>, expected: &str) -> Result<()> {
    for reader in join_all(readers).await {
        assert_eq!(*reader.expect("it does not panic")?, expected);
    }
    Ok(())
}

/// Fifty readers of one system.
async fn readers_of_one_system_compute_once(world: &World) -> Result<()> {
    let smache = world.with_user("Anna").await?;
    world.probe.close();
    let readers = spawn_gets(&smache, &greeting(1), 50);
    world.probe.arrived(1).await;
    until("all of them wait", async || Ok(smache.inspect().stats().await?.process.misses == 50)).await?;
    world.probe.open();
    all_get(readers, "Hello, Anna").await?;
    assert_eq!(world.probe.runs(), 1);
    smache.shutdown().await;
    Ok(())
}

/// Fifty readers of two systems, as of two processes.
async fn readers_of_two_systems_compute_once(world: &World) -> Result<()> {
    let one = world.with_user("Anna").await?;
    let two = world.start().await?;
    world.probe.close();
    let first = spawn_gets(&one, &greeting(1), 25);
    let second = spawn_gets(&two, &greeting(1), 25);
    world.probe.arrived(1).await;
    until("all of them wait", async || {
        Ok(one.inspect().stats().await?.process.misses + two.inspect().stats().await?.process.misses == 50)
    })
    .await?;
    world.probe.open();
    all_get(first, "Hello, Anna").await?;
    all_get(second, "Hello, Anna").await?;
    assert_eq!(world.probe.runs(), 1);
    one.shutdown().await;
    two.shutdown().await;
    Ok(())
}

/// A reader that goes away takes nothing from the others.
async fn a_reader_that_goes_away_does_not_hurt_the_others(world: &World) -> Result<()> {
    let smache = world.with_user("Anna").await?;
    world.probe.close();
    let mut readers = spawn_gets(&smache, &greeting(1), 10);
    world.probe.arrived(1).await;
    until("all of them wait", async || Ok(smache.inspect().stats().await?.process.misses == 10)).await?;
    // The one that started the computation is the first one that ran.
    for reader in readers.drain(..5) {
        reader.abort();
    }
    world.probe.open();
    all_get(readers, "Hello, Anna").await?;
    assert_eq!(world.probe.runs(), 1);
    smache.shutdown().await;
    Ok(())
}

/// The result of a run is stored although its readers have gone.
async fn a_result_without_a_waiting_reader_is_stored(world: &World) -> Result<()> {
    let smache = world.with_user("Anna").await?;
    world.probe.close();
    {
        let read = smache.get(greeting(1));
        tokio::select! {
            _ = read => panic!("the gate is closed"),
            () = world.probe.arrived(1) => {}
        }
    }
    world.probe.open();
    assert_eq!(*until_fresh(&smache, greeting(1)).await, "Hello, Anna");
    assert_eq!(world.probe.runs(), 1);
    smache.shutdown().await;
    Ok(())
}

/// Every reader that waits for a run that fails gets its error; the next reader runs it again.
async fn every_waiting_reader_gets_the_error(world: &World) -> Result<()> {
    let smache = world.with_user("Anna").await?;
    world.probe.act(Act::Fail);
    world.probe.close();
    let waiting = spawn_gets(&smache, &greeting(1), 10);
    world.probe.arrived(1).await;
    until("all of them wait", async || Ok(smache.inspect().stats().await?.process.misses == 10)).await?;
    world.probe.open();
    for reader in join_all(waiting).await {
        let error = reader.expect("it does not panic").expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Function);
        assert_eq!(error.function_error::<Refused>(), Some(&Refused("greeting 1".to_owned())));
    }
    assert_eq!(world.probe.runs(), 1);
    world.probe.act(Act::Succeed);
    all_get(spawn_gets(&smache, &greeting(1), 10), "Hello, Anna").await?;
    assert_eq!(world.probe.runs(), 2);
    smache.shutdown().await;
    Ok(())
}

on_every_world! {
    readers_of_one_system_compute_once,
    readers_of_two_systems_compute_once,
    a_reader_that_goes_away_does_not_hurt_the_others,
    a_result_without_a_waiting_reader_is_stored,
    every_waiting_reader_gets_the_error,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_on_many_threads_compute_every_value_once() -> Result<()> {
    let world = World::memory();
    let smache = world.start().await?;
    for round in 0..50 {
        for value in join_all(spawn_gets(&smache, &square(round), 32)).await {
            assert_eq!(*value.expect("it does not panic")?, round * round);
        }
    }
    assert_eq!(world.probe.runs(), 50);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_systems_on_many_threads_compute_every_value_once() -> Result<()> {
    let world = World::memory();
    let systems = [world.start().await?, world.start().await?];
    for round in 0..50 {
        let read = |n: usize| spawn_get(&systems[n % 2], square(round));
        for value in join_all((0..16).map(read)).await {
            assert_eq!(*value.expect("it does not panic")?, round * round);
        }
    }
    assert_eq!(world.probe.runs(), 50, "a system that comes late reads what the other one stored");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_reader_does_not_wait_longer_than_its_timeout() -> Result<()> {
    let world = World::memory();
    world.put(1, "Anna").await?;
    let smache = world.builder().wait_timeout(Duration::from_secs(3)).build().await?;
    world.probe.close();
    let begin = tokio::time::Instant::now();
    let error = smache.get(greeting(1)).await.expect_err("the gate is closed");
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.is_transient() && error.to_string().contains("wait_timeout"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    world.probe.open();
    assert_eq!(*smache.get(greeting(1)).await?, "Hello, Anna");
    assert_eq!(world.probe.runs(), 1, "the run went on");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_another_system_does_not_wait_longer_than_its_timeout() -> Result<()> {
    let world = World::memory();
    let one = world.with_user("Anna").await?;
    let two = world.builder().wait_timeout(Duration::from_secs(3)).build().await?;
    world.probe.close();
    let first = spawn_gets(&one, &greeting(1), 1);
    world.probe.arrived(1).await;
    let error = two.get(greeting(1)).await.expect_err("the other one computes");
    assert_eq!(error.kind(), ErrorKind::Busy);
    world.probe.open();
    all_get(first, "Hello, Anna").await?;
    assert_eq!(*two.get(greeting(1)).await?, "Hello, Anna");
    assert_eq!(world.probe.runs(), 1);
    Ok(())
}

/// The answer to its commit is on the way when a change comes, and then a reader that knows of the change.
#[tokio::test(start_paused = true)]
async fn a_reader_who_joins_a_run_that_was_stored_before_he_came_asks_the_store() -> Result<()> {
    let (memory, faults) = memory();
    let world = World::attached_to(memory);
    let smache = world.with_user("Anna").await?;
    faults.times("commit", Fault::Late(Duration::from_secs(1)), 1);
    let first = spawn_gets(&smache, &greeting(1), 1);
    until_fresh(&smache, greeting(1)).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.put(1, "Annie").await?;
    smache.changed::<User>(&1).await?;
    let stale = smache.get(greeting(1)).await?;
    assert_eq!((stale.as_str(), stale.is_fresh()), ("Hello, Anna", false));
    let knows = smache.get(greeting(1).fresh()).await?;
    assert_eq!((knows.as_str(), knows.is_fresh()), ("Hello, Annie", true));
    all_get(first, "Hello, Anna").await
}

//! The end of workers and systems.

use std::{sync::Arc, time::Duration};

use smache::{Result, Smache};
use tokio::time::Instant;

use crate::{
    functions::{greeting, square},
    probe::{Act, until},
    world::World,
};

const SECOND: Duration = Duration::from_secs(1);

/// Some stored greetings, all of them stale.
async fn stale(world: &World, many: i64) -> Result<Smache> {
    let smache = world.start().await?;
    for id in 1..=many {
        world.put(id, "old").await?;
        smache.run_until_idle().await?;
        smache.get(greeting(id)).await?;
    }
    smache.invalidate_function::<greeting>().await?;
    Ok(smache)
}

/// Running jobs may finish, waiting ones stay in the queue.
async fn a_shutdown_lets_running_jobs_finish_and_takes_no_more(world: &World) -> Result<()> {
    let smache = stale(world, 5).await?;
    world.probe.close();
    let worker = smache.worker().concurrency(2).start();
    world.probe.arrived(5 + 2).await;
    let shutdown = tokio::spawn(worker.shutdown(20 * SECOND));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!shutdown.is_finished(), "it waits for them");
    world.probe.open();
    shutdown.await.expect("it does not panic");
    assert_eq!(world.probe.runs(), 7);
    let stats = smache.inspect().stats().await?;
    assert_eq!((stats.store.stale, stats.jobs.recompute, stats.jobs.running), (3, 3, 0), "each is settled");
    smache.shutdown().await;
    Ok(())
}

/// A run beyond the grace is cancelled and its job handed back: another worker has it at once.
async fn a_shutdown_hands_back_what_runs_beyond_the_grace(world: &World) -> Result<()> {
    let smache = stale(world, 3).await?;
    let other = world.start().await?;
    world.probe.close();
    let worker = smache.worker().start();
    world.probe.arrived(3 + 3).await;
    let begin = Instant::now();
    worker.shutdown(Duration::from_millis(100)).await;
    assert!(begin.elapsed() >= Duration::from_millis(100));
    assert_eq!(world.probe.under_way(), 0, "the runs are dropped");
    let stats = smache.inspect().stats().await?;
    assert_eq!((stats.jobs.recompute, stats.jobs.running, stats.store.running), (3, 0, 0));
    world.probe.open();
    let next = other.worker().start();
    until("the other one has done them", async || Ok(smache.inspect().stats().await?.store.stale == 0)).await?;
    assert!(begin.elapsed() < 5 * SECOND, "before any lease: {:?}", begin.elapsed());
    assert_eq!(smache.inspect().dead_letters(10).await?, []);
    assert_eq!(smache.inspect().stats().await?.process.failures, 0, "a shutdown is no failure");
    next.shutdown(SECOND).await;
    smache.shutdown().await;
    other.shutdown().await;
    Ok(())
}

/// A worker that is dropped hands nothing back: its jobs are others' when their leases lapse.
async fn a_dropped_worker_loses_nothing(world: &World) -> Result<()> {
    let smache = stale(world, 3).await?;
    let other = world.start().await?;
    world.probe.close();
    let worker = smache.worker().job_lease(Duration::from_millis(300)).start();
    world.probe.arrived(3 + 3).await;
    drop(worker);
    let next = other.worker().job_lease(Duration::from_millis(300)).poll_interval(Duration::from_millis(50)).start();
    world.probe.open();
    until("nothing is left", async || {
        let stats = smache.inspect().stats().await?;
        Ok(stats.store.stale + stats.jobs.recompute + stats.jobs.running == 0)
    })
    .await?;
    for id in 1..=3 {
        assert!(smache.is_fresh(greeting(id)).await?);
    }
    next.shutdown(SECOND).await;
    smache.shutdown().await;
    other.shutdown().await;
    Ok(())
}

/// An idle worker has nothing to wait for.
async fn an_idle_worker_shuts_down_at_once(world: &World) -> Result<()> {
    let smache = world.start().await?;
    let worker = smache.worker().start();
    smache.get(square(1)).await?;
    let begin = Instant::now();
    worker.shutdown(60 * SECOND).await;
    assert!(begin.elapsed() < SECOND, "{:?}", begin.elapsed());
    smache.shutdown().await;
    smache.shutdown().await;
    assert_eq!(*smache.get(square(1)).await?, 1, "reads go on without feeds and maintenance");
    Ok(())
}

on_every_world! {
    a_shutdown_lets_running_jobs_finish_and_takes_no_more,
    a_shutdown_hands_back_what_runs_beyond_the_grace,
    a_dropped_worker_loses_nothing,
    an_idle_worker_shuts_down_at_once,
}

#[tokio::test(start_paused = true)]
async fn a_feed_is_handed_over_long_before_its_leadership_would_lapse() -> Result<()> {
    let world = World::memory();
    let first = world.with_user("old").await?;
    let second = world.start().await?;
    second.get(greeting(1)).await?;
    first.shutdown().await;
    let ended = Instant::now();
    world.put(1, "new").await?;
    until("the next leader tells of the change", async || {
        Ok(second.peek(greeting(1)).await?.is_some_and(|stored| stored.stale_for().is_some()))
    })
    .await?;
    assert!(ended.elapsed() < 2 * SECOND, "leaders are waited for 5 s: {:?}", ended.elapsed());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_system_that_is_dropped_leaves_nothing_behind() -> Result<()> {
    let (world, faults) = World::faulty();
    let smache = world.with_greeting().await?;
    let worker = smache.worker().start();
    let clone = smache.clone();
    drop(smache);
    let steps = faults.steps();
    tokio::time::sleep(10 * SECOND).await;
    assert!(faults.steps() > steps, "a clone is a system");
    drop(worker);
    drop(clone);
    tokio::time::sleep(SECOND).await;
    let steps = faults.steps();
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(faults.steps(), steps);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_is_given_up_ends_the_worker() -> Result<()> {
    let world = World::attached();
    let smache = stale(&world, 1).await?;
    world.probe.close();
    let worker = smache.worker().job_lease(SECOND).start();
    world.probe.arrived(2).await;
    let given_up = tokio::time::timeout(SECOND, worker.shutdown(3_600 * SECOND)).await;
    assert!(given_up.is_err());
    world.probe.open();
    let next = smache.worker().start();
    until("the next one does the rest", async || {
        let stats = smache.inspect().stats().await?;
        Ok(stats.store.stale + stats.jobs.recompute + stats.jobs.running == 0)
    })
    .await?;
    next.shutdown(SECOND).await;
    Ok(())
}

/// The test detects a task that a system leaves running by a state of the system: each holder of the system holds the
/// state, and the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_shutdown_the_last_handle_is_all_that_holds_the_store() -> Result<()> {
    for round in 0..300 {
        let world = World::on(smache::memory::Memory::new());
        let held = Arc::new(());
        for id in 1..=4 {
            world.put(id, "old").await?;
        }
        let smache = world.builder().state(Arc::clone(&held)).build().await?;
        let worker = smache.worker().start();
        for id in 1..=3 {
            smache.get(greeting(id)).await?;
            world.put(id, "new").await?;
        }
        // A reader that goes away in the middle of a run, and a run that ends at about the shutdown.
        world.probe.act(Act::Sleep(Duration::from_millis(round % 4)));
        let reader = smache.clone();
        let leaving = tokio::spawn(async move { reader.get(greeting(4)).await });
        tokio::time::sleep(Duration::from_millis(round % 3)).await;
        leaving.abort();
        // By being aborted, or with a result.
        drop(leaving.await);
        if round % 2 == 0 {
            worker.shutdown(SECOND).await;
        } else {
            drop(worker);
        }
        smache.shutdown().await;
        drop(smache);
        assert_eq!(Arc::strong_count(&held), 1, "round {round}");
    }
    Ok(())
}

/// The run of a reader that has gone may end for a while, and then gives its lease back.
#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_the_run_of_a_reader_who_has_gone() -> Result<()> {
    let world = World::attached();
    world.put(1, "Anna").await?;
    let held = Arc::new(());
    let smache = world.builder().state(Arc::clone(&held)).build().await?;
    world.probe.close();
    let leaving = tokio::time::timeout(SECOND, smache.get(greeting(1)));
    assert!(leaving.await.is_err(), "it waits at the gate");
    let begin = Instant::now();
    smache.shutdown().await;
    assert!(begin.elapsed() >= 4 * SECOND && begin.elapsed() < 10 * SECOND, "{:?}", begin.elapsed());
    assert_eq!(world.probe.under_way(), 0, "the run is dropped");
    assert_eq!(smache.inspect().stats().await?.store.running, 0, "its lease is given back");
    drop(smache);
    assert_eq!(Arc::strong_count(&held), 1);
    Ok(())
}

//! Changes while a function runs.

use std::time::Duration;

use smache::{Result, Smache};
use tokio::time::Instant;

use crate::{
    functions::{census, greeting, read_first, real_name, slow},
    probe::{until, work_until_fresh},
    tasks::{held_get, spawn_get},
    waits::until_result,
    world::World,
};

/// The value of a run that a change overtook is stored, but not as fresh, and it is computed again.
async fn a_change_during_the_run_is_not_lost(world: &World) -> Result<()> {
    let smache = world.with_user("Anna").await?;
    let reader = held_get(&world.probe, &smache, greeting(1)).await;
    world.put(1, "Annie").await?;
    delivered(&smache, 1).await?;
    world.probe.open();
    let old = reader.await.expect("it does not panic")?;
    assert_eq!((old.as_str(), old.is_fresh()), ("Hello, Anna", false));
    assert!(smache.peek(greeting(1)).await?.is_some_and(|found| !found.is_fresh() && *found == "Hello, Anna"));
    assert_eq!(*work_until_fresh(&smache, greeting(1)).await?, "Hello, Annie");
    assert_eq!(world.probe.runs(), 2);
    assert_eq!(smache.inspect().stats().await?.process.conflicts, 1);
    smache.shutdown().await;
    Ok(())
}

/// The change comes before the store knows the dependency.
async fn a_dependency_found_on_the_way_that_changed_is_not_lost(world: &World) -> Result<()> {
    let smache = world.with_user("Anna").await?;
    let reader = held_get(&world.probe, &smache, read_first(1)).await;
    world.put(1, "Annie").await?;
    delivered(&smache, 1).await?;
    world.probe.open();
    assert!(!reader.await.expect("it does not panic")?.is_fresh());
    let value = smache.get(read_first(1).fresh()).await?;
    assert_eq!((value.as_deref(), value.is_fresh()), (Some("Annie"), true));
    smache.shutdown().await;
    Ok(())
}

/// A read after the change is as new as the change, although the run began before it.
async fn a_change_before_the_read_costs_a_run_at_most(world: &World) -> Result<()> {
    let smache = world.with_user("Anna").await?;
    let reader = held_get(&world.probe, &smache, real_name(1)).await;
    world.put(1, "Annie").await?;
    delivered(&smache, 1).await?;
    world.probe.open();
    assert_eq!(reader.await.expect("it does not panic")?.as_deref(), Some("Annie"));
    assert_eq!(smache.get(real_name(1).fresh()).await?.as_deref(), Some("Annie"));
    assert!(world.probe.runs() <= 2);
    smache.shutdown().await;
    Ok(())
}

/// Changes of what the run does not use are no conflict.
async fn changes_of_other_entities_do_not_disturb_a_run(world: &World) -> Result<()> {
    world.put(1, "Anna").await?;
    world.put(2, "Ben").await?;
    let smache = world.start().await?;
    let reader = held_get(&world.probe, &smache, greeting(1)).await;
    world.put(2, "Benny").await?;
    delivered(&smache, 1).await?;
    world.probe.open();
    assert!(reader.await.expect("it does not panic")?.is_fresh());
    smache.shutdown().await;
    Ok(())
}

/// An insert during the run of a function of the whole source.
async fn a_phantom_during_the_run_is_not_lost(world: &World) -> Result<()> {
    let smache = world.with_user("Anna").await?;
    let reader = held_get(&world.probe, &smache, census()).await;
    world.put(2, "Ben").await?;
    delivered(&smache, 1).await?;
    world.probe.open();
    let old = reader.await.expect("it does not panic")?;
    assert_eq!((&old[..], old.is_fresh()), (&["Anna".to_owned()][..], false));
    assert_eq!(*smache.get(census().fresh()).await?, ["Anna", "Ben"]);
    smache.shutdown().await;
    Ok(())
}

/// Many changes at once are one thing to catch up with.
async fn a_burst_of_changes_costs_few_runs(world: &World) -> Result<()> {
    let smache = world.with_user("name").await?;
    smache.get(slow(1, 50)).await?;
    let worker = smache.worker().start();
    for n in 0..100 {
        world.put(1, format!("name {n}")).await?;
        tokio::task::yield_now().await;
    }
    until_result(&smache, slow(1, 50), |found| *found == "name 99").await;
    let recomputed = world.probe.runs() - 1;
    assert!((1..=3).contains(&recomputed), "{recomputed} recomputations");
    worker.shutdown(Duration::from_secs(1)).await;
    smache.shutdown().await;
    Ok(())
}

/// An entity that changes faster than its function runs: the value moves on, and the others get their turn.
async fn a_hot_entity_advances_and_leaves_room(world: &World) -> Result<()> {
    let smache = world.with_user("0").await?;
    smache.get(slow(1, 100)).await?;
    let worker = smache.worker().concurrency(1).start();
    let begin = Instant::now();
    let mut changes = 0;
    let mut values = Vec::new();
    while begin.elapsed() < Duration::from_secs(2) {
        changes += 1;
        world.put(1, changes.to_string()).await?;
        let value: i32 = smache.get(slow(1, 100)).await?.parse().expect("a number");
        if values.last() != Some(&value) {
            values.push(value);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(values.is_sorted() && values.len() >= 3, "the value moves on: {values:?}");
    let recomputed = world.probe.runs() - 1;
    assert!(recomputed <= 8, "{recomputed} runs of 100 ms in 2 s: other jobs have no chance");
    let cooled = Instant::now();
    until_result(&smache, slow(1, 100), |found| *found == changes.to_string()).await;
    let settled = cooled.elapsed();
    assert!(settled < Duration::from_millis(600), "it took {settled:?} after the last change, at 100 ms a run");
    worker.shutdown(Duration::from_secs(1)).await;
    smache.shutdown().await;
    Ok(())
}

/// A worker that looks once a minute is woken for a job that is put off.
async fn a_change_during_a_run_is_fresh_soon_after_it(world: &World) -> Result<()> {
    let smache = world.with_user("0").await?;
    smache.get(slow(1, 100)).await?;
    let worker = smache.worker().poll_interval(Duration::from_secs(60)).start();
    for name in ["a", "b", "c"] {
        let runs = world.probe.runs();
        world.put(1, name).await?;
        until("the run begins", async || Ok(world.probe.runs() > runs)).await?;
        world.put(1, format!("{name}, at last")).await?;
        let changed = Instant::now();
        until_result(&smache, slow(1, 100), |found| found.ends_with("at last")).await;
        // The rest of the run, a pause of twice its cost, a run, and what waits for the feed.
        let took = changed.elapsed();
        assert!(took < Duration::from_millis(700), "it took {took:?} at 100 ms a run");
    }
    worker.shutdown(Duration::from_secs(1)).await;
    smache.shutdown().await;
    Ok(())
}

/// A reader that insists on a fresh value of hot data gets an error after some tries.
async fn fresh_of_a_hot_entity_ends(world: &World) -> Result<()> {
    let smache = world.with_user("0").await?;
    let reader = spawn_get(&smache, slow(1, 5).fresh());
    let mut n = 0;
    while !reader.is_finished() {
        n += 1;
        world.put(1, n.to_string()).await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    match reader.await.expect("it does not panic") {
        Ok(found) => assert!(found.is_fresh()),
        Err(error) => {
            assert_eq!(error.kind(), smache::ErrorKind::Contended);
            assert!(error.is_transient() && error.to_string().contains("slow"), "{error}");
        }
    }
    smache.shutdown().await;
    Ok(())
}

/// Waits until the feed has handed that many more changes to the store than the tests' first entities.
async fn delivered(smache: &Smache, changes: u64) -> Result<()> {
    // A feed that starts at the present does not deliver what was there before the system.
    until("the feed delivers", async || Ok(smache.inspect().stats().await?.process.changes >= changes)).await
}

on_every_world! {
    a_change_during_the_run_is_not_lost,
    a_dependency_found_on_the_way_that_changed_is_not_lost,
    a_change_before_the_read_costs_a_run_at_most,
    changes_of_other_entities_do_not_disturb_a_run,
    a_phantom_during_the_run_is_not_lost,
    a_burst_of_changes_costs_few_runs,
    a_hot_entity_advances_and_leaves_room,
    a_change_during_a_run_is_fresh_soon_after_it,
    fresh_of_a_hot_entity_ends,
}

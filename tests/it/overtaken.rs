//! Slow jobs that changes overtake end early.

use std::time::Duration;

use smache::{Result, Smache, State, Worker, computed, inspect::Counters};
use tokio::time::sleep;

use crate::{
    faulty::Fault,
    functions::greeting,
    probe::{Act, Probe, Refused, until_within},
    tasks::{held_get, held_refresh},
    world::World,
};

/// Longer than a run takes to find out.
const LONG: Duration = Duration::from_secs(60);

/// A function that takes its time.
#[computed(timeout = "2h")]
async fn report(probe: State<Probe>) -> Result<u32, Refused> {
    probe.pass("report").await?;
    Ok(1)
}

/// A function that may take half as long again as it does.
#[computed(timeout = "3s")]
async fn brief(probe: State<Probe>) -> Result<u32, Refused> {
    probe.pass("brief").await?;
    Ok(1)
}

/// A worker is at a greeting that takes as long as the gate is closed: its second run.
async fn at_work(world: &World) -> Result<(Smache, Worker)> {
    let smache = world.with_greeting().await?;
    world.probe.close();
    let worker = smache.worker().start();
    world.put(1, "Annie").await?;
    world.probe.arrived(2).await;
    Ok((smache, worker))
}

/// Opens the gate, and returns the stored value in the end and the counters of the process.
async fn ended(world: &World, smache: &Smache, worker: Worker) -> Result<(String, Counters)> {
    world.probe.open();
    // After a conflict the next run waits for a while.
    until_within(3 * LONG, "the greeting is fresh", async || smache.is_fresh(greeting(1)).await).await?;
    worker.shutdown(LONG).await;
    let counters = smache.inspect().stats().await?.process;
    Ok((smache.get(greeting(1)).await?.to_string(), counters))
}

/// The engine drops the first of the two runs; the function sees nothing of that.
async fn a_job_that_is_overtaken_runs_again_at_once(world: &World) -> Result<()> {
    let (smache, worker) = at_work(world).await?;
    world.put(1, "Anne").await?;
    world.probe.arrived(3).await;
    assert_eq!(world.probe.under_way(), 1, "the run before was dropped");
    let (found, counters) = ended(world, &smache, worker).await?;
    assert_eq!((found.as_str(), world.probe.runs()), ("Hello, Anne", 3));
    assert_eq!((counters.ended_early, counters.conflicts), (1, 0), "{counters:?}");
    Ok(())
}

/// Whatever changes how often, every second run comes to its end, and its value is stored.
async fn it_runs_again_once_only(world: &World) -> Result<()> {
    let (smache, worker) = at_work(world).await?;
    for (name, runs) in [("Anne", 3), ("Ann", 3), ("Anna", 3)] {
        world.put(1, name).await?;
        sleep(LONG).await;
        assert_eq!(world.probe.runs(), runs, "{name}");
    }
    let (found, counters) = ended(world, &smache, worker).await?;
    assert_eq!((found.as_str(), world.probe.runs()), ("Hello, Anna", 4));
    assert_eq!((counters.ended_early, counters.conflicts), (1, 1), "{counters:?}");
    Ok(())
}

/// An entry that changes all the time has conflicts from before: its runs come to their ends.
async fn a_hot_entry_is_stored_as_it_is(world: &World) -> Result<()> {
    let (smache, worker) = at_work(world).await?;
    world.put(1, "Anne").await?;
    world.probe.arrived(3).await;
    world.put(1, "Ann").await?;
    sleep(LONG).await;
    world.probe.open_for("greeting 1");
    world.probe.ended(3).await;
    world.probe.close();
    until_within(2 * LONG, "the next run begins", async || Ok(world.probe.runs() == 4)).await?;
    world.put(1, "Anna").await?;
    sleep(LONG).await;
    assert_eq!(world.probe.runs(), 4);
    let (found, counters) = ended(world, &smache, worker).await?;
    assert_eq!((found.as_str(), counters.ended_early), ("Hello, Anna", 1));
    Ok(())
}

/// Where no value is stored, a reader waits for one: a stale one is better than none.
async fn the_first_run_comes_to_its_end(world: &World) -> Result<()> {
    let smache = world.with_user("Anna").await?;
    let reader = held_get(&world.probe, &smache, greeting(1)).await;
    world.put(1, "Annie").await?;
    sleep(LONG).await;
    assert_eq!(world.probe.runs(), 1);
    world.probe.open();
    let found = reader.await.expect("it does not panic")?;
    assert_eq!((found.as_str(), found.is_fresh()), ("Hello, Anna", false));
    Ok(())
}

/// A reader waits for one run, and takes its value: no bound of a reader counts on a second one.
async fn the_run_of_a_reader_comes_to_its_end(world: &World) -> Result<()> {
    let smache = world.with_greeting().await?;
    let reader = held_refresh(&world.probe, &smache, greeting(1)).await;
    world.put(1, "Annie").await?;
    sleep(LONG).await;
    assert_eq!(world.probe.runs(), 2);
    world.probe.open();
    let found = reader.await.expect("it does not panic")?;
    assert_eq!((found.as_str(), found.is_fresh()), ("Hello, Anna", false));
    Ok(())
}

/// The run of an entry that is invalidated by its name has no read that could be repeated.
async fn what_is_invalidated_by_name_runs_again(world: &World) -> Result<()> {
    let (smache, worker) = at_work(world).await?;
    smache.invalidate(greeting(1)).await?;
    world.probe.arrived(3).await;
    let (found, counters) = ended(world, &smache, worker).await?;
    assert_eq!((found.as_str(), counters.ended_early), ("Hello, Annie", 1));
    Ok(())
}

/// Changes of others are nothing to it.
async fn a_run_that_nothing_overtakes_goes_on(world: &World) -> Result<()> {
    let (smache, worker) = at_work(world).await?;
    world.put(2, "Ben").await?;
    sleep(LONG).await;
    let (found, counters) = ended(world, &smache, worker).await?;
    assert_eq!((found.as_str(), world.probe.runs(), counters.ended_early), ("Hello, Annie", 2, 0));
    Ok(())
}

on_every_world!(
    a_job_that_is_overtaken_runs_again_at_once,
    it_runs_again_once_only,
    a_hot_entry_is_stored_as_it_is,
    the_first_run_comes_to_its_end,
    the_run_of_a_reader_comes_to_its_end,
    what_is_invalidated_by_name_runs_again,
    a_run_that_nothing_overtakes_goes_on,
);

/// A store that does not answer is no reason to end; the run asks it again.
#[tokio::test(start_paused = true)]
async fn a_store_that_fails_ends_no_run() -> Result<()> {
    let (world, faults) = World::faulty();
    let (smache, worker) = at_work(&world).await?;
    faults.on("changed_since", Fault::Unavailable);
    world.put(1, "Anne").await?;
    sleep(LONG).await;
    assert!(faults.calls("changed_since") > 3, "{}", faults.calls("changed_since"));
    assert_eq!(world.probe.runs(), 2);
    faults.heal();
    world.probe.arrived(3).await;
    let (found, counters) = ended(&world, &smache, worker).await?;
    assert_eq!((found.as_str(), counters.ended_early), ("Hello, Anne", 1));
    Ok(())
}

/// A run asks seldom: the longer it has lasted, the longer it waits.
#[tokio::test(start_paused = true)]
async fn an_hour_costs_few_questions() -> Result<()> {
    let (world, faults) = World::faulty();
    let smache = world.builder().register::<report>().build().await?;
    smache.get(report()).await?;
    world.probe.act(Act::Sleep(60 * LONG));
    smache.invalidate(report()).await?;
    smache.run_until_idle().await?;
    assert!(smache.is_fresh(report()).await?);
    let asked = faults.calls("changed_since");
    assert!((20..50).contains(&asked), "{asked}");
    Ok(())
}

/// Joined readers wait for the run no longer than its `timeout`: there has to be time for the second one.
#[tokio::test(start_paused = true)]
async fn a_run_ends_early_only_where_there_is_time_for_another() -> Result<()> {
    let world = World::memory();
    let smache = world.builder().register::<brief>().build().await?;
    world.probe.act(Act::Sleep(Duration::from_secs(2)));
    smache.get(brief()).await?;
    let worker = smache.worker().start();
    for (after, early) in [(700, 1), (1_200, 1)] {
        let before = world.probe.runs();
        smache.invalidate(brief()).await?;
        world.probe.arrived(before + 1).await;
        sleep(Duration::from_millis(after)).await;
        smache.invalidate(brief()).await?;
        until_within(LONG, "it is fresh", async || smache.is_fresh(brief()).await).await?;
        assert_eq!(smache.inspect().stats().await?.process.ended_early, early, "changed after {after} ms");
    }
    worker.shutdown(LONG).await;
    Ok(())
}

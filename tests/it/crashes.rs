//! Processes that die without a word: everything they held is others' after its lease.

use std::{sync::mpsc, time::Duration};

use smache::{Result, Smache};
use tokio::runtime::Runtime;

use crate::{
    functions::{greeting, square},
    probe::{Probe, until, until_stale, work_until_result},
    tasks::spawn_get,
    waits::until_fresh,
    world::{User, World},
};

/// Of those that die. Survivors have the usual ones: they do not lose their own while the machine is busy.
const LEASE: Duration = Duration::from_millis(200);
/// A victim that stands still before it is killed loses its jobs more than once.
const MANY: u32 = 1_000;

/// A separate process, as far as a test can have one: everything that runs in it stops at once when it is killed.
struct Process {
    runtime: Option<Runtime>,
}

impl Process {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self { runtime: Some(runtime.expect("a runtime starts")) }
    }

    /// Runs something to its end in the process.
    fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let runtime = self.runtime.as_ref().expect("it is not killed yet");
        runtime.spawn(async move {
            let result = work.await;
            done.send(result).expect("the test waits");
        });
        result.recv().expect("it is not killed yet")
    }

    fn kill(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The destructor of a runtime waits, which it must not do inside of another one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A system of a process with a separate probe, whose runs stop at its gate.
fn start_in(process: &Process, world: &World) -> Result<(Smache, Probe)> {
    let probe = Probe::default();
    probe.close();
    let builder = world.builder().state(probe.clone()).run_lease(LEASE);
    let smache = process.run(builder.build())?;
    Ok((smache, probe))
}

#[tokio::test]
async fn what_a_dead_reader_computed_is_computed_by_the_next_one() -> Result<()> {
    let world = World::attached();
    let survivor = world.with_user("Anna").await?;
    let process = Process::start();
    let (victim, probe) = start_in(&process, &world)?;
    process.run({
        let victim = victim.clone();
        async move {
            tokio::spawn(async move { victim.get(greeting(1)).await });
        }
    });
    probe.arrived(1).await;
    process.kill();
    assert!(survivor.get(greeting(1)).await?.is_fresh());
    assert_eq!(world.probe.runs(), 1);
    drop(victim);
    Ok(())
}

#[tokio::test]
async fn what_a_dead_worker_computed_is_computed_by_the_next_one() -> Result<()> {
    let world = World::attached();
    let survivor = world.start().await?;
    for id in 1..=5 {
        world.put(id, "old").await?;
        survivor.get(greeting(id)).await?;
    }
    let process = Process::start();
    let (victim, probe) = start_in(&process, &world)?;
    let worker = process.run({
        let victim = victim.clone();
        async move { victim.worker().job_lease(LEASE).max_crashes(MANY).start() }
    });
    for id in 1..=5 {
        world.put(id, "new").await?;
        survivor.changed::<User>(&id).await?;
    }
    probe.arrived(5).await;
    process.kill();
    let next = survivor.worker().max_crashes(MANY).poll_interval(LEASE / 4).start();
    for id in 1..=5 {
        assert_eq!(*until_fresh(&survivor, greeting(id)).await, "Hello, new");
    }
    assert_eq!(world.probe.runs(), 10);
    assert_eq!(survivor.inspect().dead_letters(10).await?, [], "a crash is no reason");
    until("nothing is left", async || {
        let stats = survivor.inspect().stats().await?;
        Ok(stats.jobs.recompute + stats.jobs.running + stats.store.running == 0)
    })
    .await?;
    next.shutdown(Duration::from_secs(1)).await;
    drop((worker, victim));
    Ok(())
}

#[tokio::test]
async fn a_dead_leader_of_the_feed_is_followed_by_the_next_one() -> Result<()> {
    let world = World::memory();
    world.put(1, "old").await?;
    let process = Process::start();
    let (victim, _probe) = start_in(&process, &world)?;
    let survivor = world.start().await?;
    assert!(survivor.get(greeting(1)).await?.is_fresh());
    process.kill();
    world.put(1, "new").await?;
    until_stale(&survivor, greeting(1)).await?;
    work_until_result(&survivor, greeting(1), |found| *found == "Hello, new").await?;
    drop(victim);
    Ok(())
}

#[tokio::test]
async fn a_reader_whose_process_goes_on_after_it_was_given_up_stores_nothing() -> Result<()> {
    let world = World::attached();
    let survivor = world.with_user("Anna").await?;
    let process = Process::start();
    let (victim, probe) = start_in(&process, &world)?;
    let paused = mpsc::channel::<()>();
    let resume = mpsc::channel::<()>();
    process.run({
        let victim = victim.clone();
        async move {
            tokio::spawn(async move { victim.get(greeting(1)).await });
        }
    });
    probe.arrived(1).await;
    // The only thread of the process stands still: no heartbeat, as when a machine swaps or a container is paused.
    process.run({
        let sender = paused.0;
        let receiver = resume.1;
        async move {
            tokio::spawn(async move {
                sender.send(()).expect("the test waits");
                receiver.recv().expect("the test tells");
            });
        }
    });
    paused.1.recv().expect("it stands still");
    world.put(1, "Annie").await?;
    survivor.changed::<User>(&1).await?;
    let value = survivor.get(greeting(1)).await?;
    assert_eq!((value.as_str(), value.is_fresh()), ("Hello, Annie", true));
    probe.open();
    resume.0.send(()).expect("it waits");
    probe.ended(1).await;
    until("its run is over", async || Ok(victim.inspect().stats().await?.store.running == 0)).await?;
    let value = survivor.get(greeting(1)).await?;
    assert_eq!((value.as_str(), value.is_fresh()), ("Hello, Annie", true));
    process.kill();
    Ok(())
}

#[tokio::test]
async fn a_runtime_that_ends_takes_the_heartbeats_of_others_not_along() -> Result<()> {
    let (world, faults) = World::faulty_attached();
    let smache = world.builder().run_lease(LEASE).build().await?;
    world.probe.close();
    let process = Process::start();
    process.run({
        let smache = smache.clone();
        async move { drop(tokio::spawn(async move { smache.get(square(1)).await })) }
    });
    world.probe.arrived(1).await;
    process.kill();
    world.probe.ended(1).await;
    let reader = spawn_get(&smache, square(2));
    world.probe.arrived(2).await;
    let beats = faults.calls("extend");
    until("its own heart beats", async || Ok(faults.calls("extend") > beats + 3)).await?;
    world.probe.open();
    assert!(reader.await.expect("it does not panic")?.is_fresh());
    Ok(())
}

//! Workers: they compute stale results again without a reader.

use std::time::Duration;

use smache::{
    Result,
    backend::{JobState, Lane, Reserve},
};

use crate::{
    functions::{greeting, lazy_greeting, slow, square},
    probe::{Act, until, until_within},
    waits::{until_fresh, until_idle, until_result},
    world::{User, World},
};

const GRACE: Duration = Duration::from_secs(1);

/// A change is in the results after a while, and no reader ever waited.
async fn what_goes_stale_is_computed_without_a_reader(world: &World) -> Result<()> {
    for id in 1..=20 {
        world.put(id, "old").await?;
    }
    let smache = world.start().await?;
    for id in 1..=20 {
        smache.get(greeting(id)).await?;
    }
    let worker = smache.worker().start();
    for id in 1..=20 {
        world.put(id, "new").await?;
    }
    for id in 1..=20 {
        until_result(&smache, greeting(id), |found| *found == "Hello, new").await;
    }
    let process = smache.inspect().stats().await?.process;
    assert_eq!((process.misses, process.stale_hits), (20, 0), "the first reads");
    until_idle(&smache).await;
    worker.shutdown(GRACE).await;
    smache.shutdown().await;
    Ok(())
}

/// They are held by one token, and each must be kept alive by itself.
#[tokio::test(start_paused = true)]
async fn heartbeats_keep_every_job_of_a_reservation() -> Result<()> {
    let world = World::attached();
    for id in 1..=3 {
        world.put(id, "old").await?;
    }
    let smache = world.start().await?;
    for id in 1..=3 {
        smache.get(greeting(id)).await?;
        smache.invalidate(greeting(id)).await?;
    }
    world.probe.close();
    let worker = smache.worker().job_lease(GRACE).start();
    world.probe.arrived(6).await;
    let queue = world.queue()?;
    for id in 1..=3 {
        // One that ends takes no other one along.
        tokio::time::sleep(10 * GRACE).await;
        let others = queue.reserve(Reserve::new(Lane::Recompute, 10, GRACE)).await?.jobs;
        assert_eq!(others, [], "round {id}");
        for id in id..=3 {
            let job = queue.find(&smache.inspect().entry_id(&greeting(id))?).await?.expect("it runs");
            assert_eq!((job.state, job.crashes), (JobState::Running, 0), "the job of {id}");
        }
        world.probe.open_for(format!("greeting {id}"));
        until_fresh(&smache, greeting(id)).await;
    }
    assert_eq!(world.probe.runs(), 6);
    worker.shutdown(GRACE).await;
    Ok(())
}

/// A worker may be in another process than readers and feeds.
async fn a_worker_of_another_system_does_the_work(world: &World) -> Result<()> {
    let reader = world.with_user("old").await?;
    let other = world.start().await?;
    reader.get(greeting(1)).await?;
    let worker = other.worker().start();
    world.put(1, "new").await?;
    until_result(&reader, greeting(1), |found| *found == "Hello, new").await;
    let readers = reader.inspect().stats().await?.process.runs;
    let others = other.inspect().stats().await?.process.runs;
    assert_eq!((readers, others), (1, 1));
    worker.shutdown(GRACE).await;
    reader.shutdown().await;
    other.shutdown().await;
    Ok(())
}

/// No more functions run at a time than was allowed, and no fewer if there is work.
async fn the_concurrency_of_a_worker_is_respected_and_used(world: &World) -> Result<()> {
    for id in 1..=12 {
        world.put(id, "old").await?;
    }
    let smache = world.start().await?;
    for id in 1..=12 {
        smache.get(greeting(id)).await?;
    }
    world.probe.close();
    let worker = smache.worker().concurrency(3).start();
    for id in 1..=12 {
        smache.invalidate(greeting(id)).await?;
    }
    world.probe.arrived(12 + 3).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((world.probe.runs(), world.probe.under_way()), (15, 3));
    world.probe.open();
    for id in 1..=12 {
        until_fresh(&smache, greeting(id)).await;
    }
    assert_eq!(world.probe.runs(), 24);
    worker.shutdown(GRACE).await;
    smache.shutdown().await;
    Ok(())
}

/// Two workers share the work: nothing is computed twice.
async fn workers_share_the_work(world: &World) -> Result<()> {
    for id in 1..=30 {
        world.put(id, "old").await?;
    }
    let one = world.start().await?;
    let two = world.start().await?;
    for id in 1..=30 {
        one.get(greeting(id)).await?;
    }
    world.probe.act(Act::Sleep(Duration::from_millis(5)));
    let workers = [one.worker().concurrency(2).start(), two.worker().concurrency(2).start()];
    one.invalidate_function::<greeting>().await?;
    for id in 1..=30 {
        until_fresh(&one, greeting(id)).await;
    }
    assert_eq!(world.probe.runs(), 60);
    for worker in workers {
        worker.shutdown(GRACE).await;
    }
    one.shutdown().await;
    two.shutdown().await;
    Ok(())
}

/// Jobs that were there before the worker.
async fn a_worker_starts_with_what_is_due(world: &World) -> Result<()> {
    let smache = world.start().await?;
    for n in 0..5 {
        smache.get(square(n)).await?;
    }
    smache.invalidate_function::<square>().await?;
    let worker = smache.worker().start();
    until("all are done", async || Ok(smache.inspect().stats().await?.store.stale == 0)).await?;
    assert_eq!(world.probe.runs(), 10);
    worker.shutdown(GRACE).await;
    smache.shutdown().await;
    Ok(())
}

/// A result that its readers refresh gives no worker work.
async fn a_lazy_result_has_no_job(world: &World) -> Result<()> {
    let smache = world.with_user("old").await?;
    smache.get(lazy_greeting(1)).await?;
    smache.get(greeting(1)).await?;
    let worker = smache.worker().start();
    world.put(1, "new").await?;
    until("the other one is done", async || Ok(*smache.peek(greeting(1)).await?.expect("stored") == "Hello, new"))
        .await?;
    assert!(!smache.is_fresh(lazy_greeting(1)).await?);
    assert_eq!(world.probe.runs(), 3);
    assert_eq!(*smache.get(lazy_greeting(1)).await?, "Hello, new");
    worker.shutdown(GRACE).await;
    smache.shutdown().await;
    Ok(())
}

/// A change while the worker computes is not lost either.
async fn a_change_during_a_workers_run_is_computed_once_more(world: &World) -> Result<()> {
    let smache = world.with_user("one").await?;
    smache.get(greeting(1)).await?;
    let worker = smache.worker().start();
    world.probe.close();
    world.put(1, "two").await?;
    world.probe.arrived(2).await;
    world.put(1, "three").await?;
    until("the second change is delivered", async || Ok(smache.inspect().stats().await?.process.changes >= 2)).await?;
    world.probe.open();
    until_result(&smache, greeting(1), |found| *found == "Hello, three").await;
    assert_eq!(world.probe.runs(), 3);
    worker.shutdown(GRACE).await;
    smache.shutdown().await;
    Ok(())
}

on_every_world! {
    what_goes_stale_is_computed_without_a_reader,
    a_worker_of_another_system_does_the_work,
    the_concurrency_of_a_worker_is_respected_and_used,
    workers_share_the_work,
    a_worker_starts_with_what_is_due,
    a_lazy_result_has_no_job,
    a_change_during_a_workers_run_is_computed_once_more,
}

#[tokio::test(start_paused = true)]
async fn a_program_without_the_function_leaves_its_jobs_to_others() -> Result<()> {
    let world = World::attached();
    let knows = world.with_user("old").await?;
    let does_not = world.foreign().await?;
    knows.get(greeting(1)).await?;
    let worker = does_not.worker().start();
    world.put(1, "new").await?;
    knows.changed::<User>(&1).await?;
    until("it has seen the job", async || Ok(does_not.inspect().stats().await?.process.unknown_jobs > 0)).await?;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let seen = does_not.inspect().stats().await?;
    assert!(seen.process.unknown_jobs <= 25, "it does not ask for it all the time: {}", seen.process.unknown_jobs);
    assert_eq!((seen.jobs.dead_letters, world.probe.runs()), (0, 1));
    let able = knows.worker().start();
    // Whenever the job is due, either of them may get it first.
    let patience = Duration::from_secs(600);
    until_within(patience, "the other one does it", async || knows.is_fresh(greeting(1)).await).await?;
    assert_eq!(*knows.get(greeting(1)).await?, "Hello, new");
    able.shutdown(GRACE).await;
    worker.shutdown(GRACE).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_reader_and_a_worker_do_not_compute_the_same_twice() -> Result<()> {
    let world = World::attached();
    let smache = world.with_user("old").await?;
    smache.get(slow(1, 100)).await?;
    let worker = smache.worker().start();
    world.put(1, "new").await?;
    smache.changed::<User>(&1).await?;
    let value = smache.get(slow(1, 100).fresh()).await?;
    assert_eq!((value.as_str(), value.is_fresh()), ("new", true));
    until_idle(&smache).await;
    assert_eq!(world.probe.runs(), 2);
    worker.shutdown(GRACE).await;
    Ok(())
}

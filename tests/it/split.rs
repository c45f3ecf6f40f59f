//! A store and a queue of different backends: joined by the engine, and by the reconciler when the engine cannot.

use std::time::Duration;

use smache::{
    Builder, Result,
    backend::{Backend, Lane, Namespace, NewJob},
    memory::{Loss, Memory},
};

use crate::{
    faulty::{Fault, Faults, Faulty},
    functions::{greeting, lazy_greeting, register},
    probe::{Act, until},
    tasks::held_get,
    waits::until_fresh,
    world::{User, World, memory},
};

const SECOND: Duration = Duration::from_secs(1);

/// A system whose queue fails on demand and loses everything on demand.
async fn split() -> Result<(World, Builder, Faults, Memory)> {
    let store = memory();
    let queue = memory();
    let (faulty, faults) = Faulty::of(queue.clone());
    let world = World::attached_to(store.clone());
    world.put(1, "old").await?;
    let builder = register(world.bare()).store(store).queue(faulty);
    Ok((world, builder, faults, queue))
}

#[tokio::test(start_paused = true)]
async fn what_goes_stale_is_enqueued_by_the_engine() -> Result<()> {
    let (world, builder, ..) = split().await?;
    let smache = builder.build().await?;
    smache.get(greeting(1)).await?;
    smache.get(lazy_greeting(1)).await?;
    world.put(1, "new").await?;
    smache.changed::<User>(&1).await?;
    assert_eq!(smache.inspect().stats().await?.jobs.recompute, 1, "one, and at once");
    assert_eq!(smache.run_until_idle().await?, 1);
    assert_eq!(*smache.get(greeting(1)).await?, "Hello, new");
    assert!(smache.is_fresh(greeting(1)).await?);
    let worker = smache.worker().start();
    world.put(1, "newer").await?;
    smache.changed::<User>(&1).await?;
    until("a worker does it", async || Ok(*smache.peek(greeting(1)).await?.expect("stored") == "Hello, newer")).await?;
    worker.shutdown(SECOND).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_result_that_was_overtaken_is_enqueued_by_the_engine() -> Result<()> {
    let (world, builder, ..) = split().await?;
    let smache = builder.build().await?;
    let reader = held_get(&world.probe, &smache, greeting(1)).await;
    world.put(1, "new").await?;
    smache.changed::<User>(&1).await?;
    world.probe.open();
    assert!(!reader.await.expect("it does not panic")?.is_fresh());
    let worker = smache.worker().start();
    let enqueued =
        tokio::time::timeout(2 * SECOND, until("computed", async || smache.is_fresh(greeting(1)).await)).await;
    assert!(enqueued.is_ok(), "before the reconciler comes by");
    worker.shutdown(SECOND).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn everything_goes_stale_with_a_new_epoch_and_is_enqueued_by_maintenance() -> Result<()> {
    let (_world, builder, ..) = split().await?;
    let smache = builder.build().await?;
    smache.get(greeting(1)).await?;
    let worker = smache.worker().start();
    smache.invalidate_all().await?;
    until_fresh(&smache, greeting(1)).await;
    worker.shutdown(SECOND).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_change_is_acknowledged_without_the_queue_and_the_reconciler_makes_up_for_it() -> Result<()> {
    for fault in [Fault::Unavailable, Fault::Hang] {
        let (world, builder, faults, _) = split().await?;
        let smache = builder.store_timeout(SECOND / 10).build().await?;
        smache.get(greeting(1)).await?;
        world.put(1, "new").await?;
        faults.times("enqueue", fault, 1);
        smache.changed::<User>(&1).await?;
        assert!(!smache.is_fresh(greeting(1)).await?);
        assert_eq!(smache.inspect().stats().await?.jobs.recompute, 0, "it is lost");
        let worker = smache.worker().start();
        until_fresh(&smache, greeting(1)).await;
        assert_eq!(world.probe.runs(), 2);
        worker.shutdown(SECOND).await;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_lost_everything_is_filled_again() -> Result<()> {
    let (world, builder, _, queue) = split().await?;
    let smache = builder.build().await?;
    for id in 1..=1_200 {
        world.put(id, "old").await?;
        smache.get(greeting(id)).await?;
    }
    smache.invalidate_function::<greeting>().await?;
    assert_eq!(smache.inspect().stats().await?.jobs.recompute, 1_200);
    queue.simulate_restart(Loss::Everything);
    assert_eq!(smache.inspect().stats().await?.jobs.recompute, 0);
    let worker = smache.worker().start();
    until("all are computed", async || Ok(smache.inspect().stats().await?.store.stale == 0)).await?;
    assert_eq!(world.probe.runs(), 2_400);
    worker.shutdown(SECOND).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_entry_a_reader_computed_meanwhile_runs_nothing() -> Result<()> {
    let (world, builder, ..) = split().await?;
    let smache = builder.build().await?;
    smache.get(greeting(1)).await?;
    smache.changed::<User>(&1).await?;
    assert!(smache.get(greeting(1).fresh()).await?.is_fresh());
    assert_eq!(smache.run_until_idle().await?, 1, "the job is there still");
    assert_eq!(world.probe.runs(), 2);
    let jobs = smache.inspect().stats().await?.jobs;
    assert_eq!(jobs.recompute + jobs.running + jobs.dead_letters, 0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_reconciler_leaves_dead_jobs_and_lazy_results_alone() -> Result<()> {
    let (world, builder, ..) = split().await?;
    let smache = builder.build().await?;
    smache.get(greeting(1)).await?;
    smache.get(lazy_greeting(1)).await?;
    world.probe.act(Act::Fail);
    let worker = smache.worker().max_attempts(1).start();
    smache.changed::<User>(&1).await?;
    until("it becomes a dead letter", async || Ok(smache.inspect().stats().await?.jobs.dead_letters == 1)).await?;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!((world.probe.runs(), smache.inspect().stats().await?.jobs.dead_letters), (3, 1));
    world.probe.act(Act::Succeed);
    smache.changed::<User>(&1).await?;
    until_fresh(&smache, greeting(1)).await;
    worker.shutdown(SECOND).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_failed_reader_of_a_stale_result_leaves_a_job() -> Result<()> {
    let (world, builder, faults, _) = split().await?;
    let smache = builder.build().await?;
    smache.get(greeting(1)).await?;
    faults.times("enqueue", Fault::Unavailable, 1);
    smache.changed::<User>(&1).await?;
    world.probe.act(Act::Fail);
    smache.get(greeting(1).fresh()).await.expect_err("it fails");
    world.probe.act(Act::Succeed);
    let worker = smache.worker().start();
    until_fresh(&smache, greeting(1)).await;
    worker.shutdown(SECOND).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn readers_do_not_need_the_queue() -> Result<()> {
    let (world, builder, faults, _) = split().await?;
    let smache = builder.build().await?;
    faults.all(Fault::Unavailable);
    assert!(smache.get(greeting(1)).await?.is_fresh());
    assert!(smache.get(greeting(1)).await?.is_fresh());
    smache.invalidate(greeting(1)).await?;
    assert_eq!(*smache.get(greeting(1)).await?, "Hello, old");
    assert!(smache.refresh(greeting(1)).await?.is_fresh());
    assert_eq!(
        (world.probe.runs(), smache.inspect().record(&smache.inspect().entry_id(&greeting(1))?).await?.is_some()),
        (2, true)
    );
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_change_revives_a_dead_letter_although_the_queue_fails() -> Result<()> {
    let (world, builder, faults, _) = split().await?;
    let smache = builder.build().await?;
    smache.get(greeting(1)).await?;
    world.probe.act(Act::Fail);
    let worker = smache.worker().max_attempts(1).start();
    smache.changed::<User>(&1).await?;
    until("it becomes a dead letter", async || Ok(smache.inspect().stats().await?.jobs.dead_letters == 1)).await?;
    world.probe.act(Act::Succeed);
    faults.times("enqueue", Fault::Unavailable, 2);
    smache.changed::<User>(&1).await?;
    until_fresh(&smache, greeting(1)).await;
    worker.shutdown(SECOND).await;
    Ok(())
}

/// A separate queue may have a job that the store would have taken back.
#[tokio::test(start_paused = true)]
async fn a_job_of_what_is_merely_unconfirmed_runs_nothing() -> Result<()> {
    let store = memory();
    let queue = memory();
    let world = World::on(store.clone());
    world.put(1, "Anna").await?;
    let smache = register(world.bare()).store(store).queue(queue.clone()).build().await?;
    smache.get(greeting(1)).await?;
    smache.shutdown().await;
    tokio::time::sleep(10 * SECOND).await;
    let stored = smache.peek(greeting(1)).await?.expect("it is stored");
    assert!(stored.freshness().is_unconfirmed(), "its feed is down");
    let job = NewJob::now(smache.inspect().entry_id(&greeting(1))?, Lane::Recompute);
    queue.queue(&Namespace::new("world")?)?.enqueue(&[job]).await?;
    assert_eq!(smache.inspect().stats().await?.jobs.recompute, 1);
    let worker = smache.worker().start();
    until("the job is done", async || {
        let jobs = smache.inspect().stats().await?.jobs;
        Ok(jobs.recompute + jobs.running == 0)
    })
    .await?;
    assert_eq!(world.probe.runs(), 1);
    worker.shutdown(SECOND).await;
    Ok(())
}

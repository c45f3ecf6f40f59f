//! The lanes of a worker: cheap work on the graph does not wait behind slow functions.

use std::time::Duration;

use smache::{
    Entity, Result, Smache,
    backend::{Lane, NewJob},
    computed,
};

use crate::{
    functions::greeting,
    probe::until,
    waits::until_fresh,
    world::{User, World},
};

/// Not held up by the gate.
#[computed(refresh = "on_read")]
async fn quick(user: Entity<User>) -> String {
    user.name.clone()
}

/// Every place of the recompute lane is taken by functions that wait at the gate.
async fn full(world: &World) -> Result<Smache> {
    let smache = world.builder().register::<quick>().build().await?;
    for id in 1..=6 {
        world.put(id, "old").await?;
        smache.run_until_idle().await?;
        smache.get(greeting(id)).await?;
        smache.get(quick(id)).await?;
    }
    world.probe.close();
    smache.invalidate_function::<greeting>().await?;
    smache.invalidate_function::<quick>().await?;
    Ok(smache)
}

/// A job of the propagation lane is done while the other lane is full.
async fn slow_functions_do_not_delay_propagation(world: &World) -> Result<()> {
    let smache = full(world).await?;
    let worker = smache.worker().concurrency(2).start();
    world.probe.arrived(6 + 2).await;
    let jobs = (1..=6).map(|id| Ok(NewJob::now(smache.inspect().entry_id(&quick(id))?, Lane::Propagation)));
    world.queue()?.enqueue(&jobs.collect::<Result<Vec<_>>>()?).await?;
    for id in 1..=6 {
        until_fresh(&smache, quick(id)).await;
    }
    assert_eq!(world.probe.under_way(), 2, "the slow ones still run");
    world.probe.open();
    worker.shutdown(Duration::from_secs(5)).await;
    smache.shutdown().await;
    Ok(())
}

/// In its own lane, a job waits for a place.
async fn a_job_of_the_full_lane_waits(world: &World) -> Result<()> {
    let smache = full(world).await?;
    let worker = smache.worker().concurrency(2).start();
    world.probe.arrived(6 + 2).await;
    world.queue()?.enqueue(&[NewJob::now(smache.inspect().entry_id(&quick(1))?, Lane::Recompute)]).await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!smache.is_fresh(quick(1)).await?);
    world.probe.open();
    until_fresh(&smache, quick(1)).await;
    worker.shutdown(Duration::from_secs(5)).await;
    smache.shutdown().await;
    Ok(())
}

/// An urgent job comes first when there is a choice.
async fn urgent_jobs_come_first(world: &World) -> Result<()> {
    let smache = world.start().await?;
    for n in 1..=6 {
        smache.get(crate::functions::square(n)).await?;
    }
    let urgent = |n: i64| {
        Ok(NewJob {
            priority: 0,
            ..NewJob::now(smache.inspect().entry_id(&crate::functions::square(n))?, Lane::Recompute)
        })
    };
    smache.invalidate_function::<crate::functions::square>().await?;
    world.queue()?.enqueue(&[urgent(4)?, urgent(6)?]).await?;
    let worker = smache.worker().concurrency(1).batch(1).start();
    until("all are done", async || Ok(smache.inspect().stats().await?.store.stale == 0)).await?;
    let mut first: Vec<String> = world.probe.log()[6..8].to_vec();
    first.sort();
    assert_eq!(first, ["square 4", "square 6"], "{:?}", world.probe.log());
    worker.shutdown(Duration::from_secs(5)).await;
    smache.shutdown().await;
    Ok(())
}

on_every_world! {
    slow_functions_do_not_delay_propagation,
    a_job_of_the_full_lane_waits,
    urgent_jobs_come_first,
}

//! Announcing changes before they are committed.

use std::{sync::Arc, time::Duration};

use smache::{
    Announced, Cx, ErrorKind, Result, Smache, State, computed,
    inspect::Guarantee,
    memory::{Memory, MemorySource},
    tag,
};

use crate::{
    functions::{Any, greeting},
    probe::{Probe, until},
    waits::{until_fresh, until_result},
    world::{RuntimeClock, User, World, memory},
};

const SOON: Duration = Duration::from_secs(30);

/// A price list that nothing but a tag stands for.
#[computed]
async fn price_list(cx: &Cx, probe: State<Probe>) -> Result<usize, Any> {
    probe.pass("price_list".to_owned()).await?;
    cx.depends_on(tag("prices"))?;
    Ok(probe.runs())
}

async fn system() -> Result<(World, Smache)> {
    let world = World::attached();
    world.put(1, "Anna").await?;
    world.put(2, "Ben").await?;
    let smache = world.builder().register::<price_list>().build().await?;
    smache.get(greeting(1)).await?;
    smache.get(greeting(2)).await?;
    Ok((world, smache))
}

async fn jobs(smache: &Smache) -> Result<u64> {
    let jobs = smache.inspect().stats().await?.jobs;
    Ok(jobs.propagation + jobs.recompute + jobs.running + jobs.dead_letters)
}

#[tokio::test(start_paused = true)]
async fn an_announced_change_is_reported_although_its_program_ended() -> Result<()> {
    let (world, smache) = system().await?;
    let worker = smache.worker().start();
    let intent = smache.intend().changes::<User>(&1)?.report_after(SOON).announce().await?;
    world.put(1, "Annie").await?;
    drop(intent); // as if the program had ended between its commit and its report
    tokio::time::sleep(SOON / 2).await;
    assert!(smache.is_fresh(greeting(1)).await?, "the transaction may still be open");
    tokio::time::sleep(SOON).await;
    until_result(&smache, greeting(1), |found| *found == "Hello, Annie").await;
    assert_eq!(world.probe.runs(), 3, "no other result was affected");
    assert_eq!((jobs(&smache).await?, smache.inspect().stats().await?.store.entries), (0, 2), "nothing is left of it");
    worker.shutdown(SOON).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_committed_announcement_is_reported_at_once_and_only_once() -> Result<()> {
    let (world, smache) = system().await?;
    let intent = smache.intend().changes::<User>(&1)?.changes::<User>(&2)?.report_after(SOON).announce().await?;
    assert!(smache.is_fresh(greeting(1)).await?, "an announcement changes nothing by itself");
    world.put(1, "Annie").await?;
    let token = intent.committed().await?;
    assert!(!smache.is_fresh(greeting(1)).await? && !smache.is_fresh(greeting(2)).await?);
    assert_eq!(*smache.get(greeting(1).at_least(token)).await?, "Hello, Annie", "the token proves the report");
    smache.run_until_idle().await?;
    let runs = world.probe.runs();
    tokio::time::sleep(SOON * 2).await;
    smache.run_until_idle().await?;
    assert_eq!(world.probe.runs(), runs);
    assert_eq!((jobs(&smache).await?, smache.inspect().stats().await?.store.entries), (0, 2), "nothing is left of it");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_announcement_changes_nothing() -> Result<()> {
    let (world, smache) = system().await?;
    smache.intend().changes::<User>(&1)?.report_after(SOON).announce().await?.withdrawn().await;
    tokio::time::sleep(SOON * 2).await;
    assert_eq!(smache.run_until_idle().await?, 0);
    assert!(smache.is_fresh(greeting(1)).await? && world.probe.runs() == 2);
    assert_eq!(smache.inspect().stats().await?.store.entries, 2);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_makes_everything_stale_reports_no_announcement_early() -> Result<()> {
    let (world, smache) = system().await?;
    let worker = smache.worker().start();
    let intent = smache.intend().changes::<User>(&1)?.report_after(SOON).announce().await?;
    smache.invalidate_all().await?;
    until_fresh(&smache, greeting(1)).await;
    until_fresh(&smache, greeting(2)).await;
    world.put(1, "Annie").await?;
    drop(intent);
    assert!(smache.is_fresh(greeting(1)).await?, "its time is not over");
    tokio::time::sleep(SOON * 2).await;
    until("it is reported all the same", async || Ok(*smache.get(greeting(1)).await? == "Hello, Annie")).await?;
    worker.shutdown(SOON).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_tag_is_announced_like_an_entity() -> Result<()> {
    let (_world, smache) = system().await?;
    smache.get(price_list()).await?;
    let worker = smache.worker().start();
    drop(smache.intend().tag("prices").report_after(SOON).announce().await?);
    tokio::time::sleep(SOON / 2).await;
    assert_eq!(*smache.get(price_list()).await?, 3);
    tokio::time::sleep(SOON).await;
    until("it is computed again", async || Ok(*smache.get(price_list()).await? == 4)).await?;
    worker.shutdown(SOON).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_announcement_outlives_workers_that_cannot_report_it() -> Result<()> {
    let memory = memory();
    let users = MemorySource::<User>::without_feed();
    users.insert(User { id: 1, name: "Anna".into() })?;
    let builder = || Smache::builder("shop").backend(memory.clone()).state(Probe::default());
    let other = builder().build().await?;
    let theirs = other.worker().start();
    let smache = builder().source(users.clone()).register::<greeting>().build().await?;
    smache.get(greeting(1)).await?;
    drop(smache.intend().changes::<User>(&1)?.report_after(SOON).announce().await?);
    users.insert(User { id: 1, name: "Annie".into() })?;
    tokio::time::sleep(SOON * 20).await;
    assert!(smache.is_fresh(greeting(1)).await?, "the only worker does not know the source");
    let ours = smache.worker().start();
    // Both notice the job when it is due; the one that cannot report it lets others go first.
    until("ours does", async || Ok(*smache.get(greeting(1)).await? == "Hello, Annie")).await?;
    ours.shutdown(SOON).await;
    theirs.shutdown(SOON).await;
    Ok(())
}

/// Runs that wait for a place of a function must not hold up the report of a change.
#[tokio::test(start_paused = true)]
async fn an_announcement_is_reported_on_time_however_much_there_is_to_do() -> Result<()> {
    let (world, smache) = system().await?;
    smache.get(price_list()).await?;
    world.probe.close();
    let worker = smache.worker().concurrency(1).start();
    drop(smache.intend().tag("prices").report_after(SOON).announce().await?);
    for id in 1..=2 {
        smache.invalidate(greeting(id)).await?;
    }
    world.probe.arrived(4).await;
    tokio::time::sleep(SOON + SOON / 10).await;
    assert!(!smache.is_fresh(price_list()).await?, "one function holds the only place, and another one waits for it");
    world.probe.open();
    worker.shutdown(SOON).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_store_that_makes_room_keeps_announcements() -> Result<()> {
    let memory = Memory::builder().clock(Arc::new(RuntimeClock::new())).capacity(3).build();
    let (world, smache) = {
        let world = World::attached_to(memory);
        let smache = world.start().await?;
        (world, smache)
    };
    for id in 1..=9 {
        world.put(id, "Anna").await?;
    }
    let intents = [1, 2, 3].map(async |id| smache.intend().changes::<User>(&id)?.report_after(SOON).announce().await);
    for intent in intents {
        drop(intent.await?);
    }
    for id in 1..=9 {
        smache.get(greeting(id)).await?;
    }
    let stats = smache.inspect().stats().await?;
    assert_eq!((stats.store.entries, stats.jobs.propagation), (4, 3), "all of them, and the last result");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_announcement_works_with_the_queue_elsewhere() -> Result<()> {
    let clock = Arc::new(RuntimeClock::new());
    let memory = || Memory::builder().clock(clock.clone()).build();
    let users = MemorySource::<User>::without_feed();
    users.insert(User { id: 1, name: "Anna".into() })?;
    let builder = Smache::builder("shop").store(memory()).queue(memory()).state(Probe::default());
    let smache = builder.source(users.clone()).register::<greeting>().build().await?;
    smache.get(greeting(1)).await?;
    smache.intend().changes::<User>(&1)?.report_after(SOON).announce().await?.withdrawn().await;
    assert_eq!(jobs(&smache).await?, 0, "its job goes with it");
    drop(smache.intend().changes::<User>(&1)?.report_after(SOON).announce().await?);
    users.insert(User { id: 1, name: "Annie".into() })?;
    let worker = smache.worker().start();
    tokio::time::sleep(SOON * 2).await;
    until("it is reported", async || Ok(*smache.get(greeting(1)).await? == "Hello, Annie")).await?;
    worker.shutdown(SOON).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_announcement_of_nothing_or_of_an_unknown_source_is_refused() -> Result<()> {
    let smache = Smache::builder("shop").backend(Memory::new()).build().await?;
    let error = smache.intend().announce().await.map(drop).expect_err("there is nothing");
    assert!(error.kind() == ErrorKind::Argument && error.to_string().contains("`changes`"), "{error}");
    let error = smache.intend().changes::<User>(&1).map(drop).expect_err("no such source");
    assert!(error.kind() == ErrorKind::Unregistered && error.to_string().contains("`users`"), "{error}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_source_whose_writers_announce_says_so() -> Result<()> {
    let users = || MemorySource::<User>::without_feed();
    let start = |builder: smache::Builder| builder.backend(Memory::new()).build();
    let announced = start(Smache::builder("shop").source(Announced::new(users()))).await?.inspect().doctor().await;
    assert_eq!(announced.parts[2].examination.guarantee, Some(Guarantee::Intent));
    let reported = start(Smache::builder("shop").source(users())).await?.inspect().doctor().await;
    assert_eq!(reported.parts[2].examination.guarantee, Some(Guarantee::BestEffort));
    let fed = start(Smache::builder("shop").source(Announced::new(MemorySource::<User>::new())))
        .await?
        .inspect()
        .doctor()
        .await;
    assert_eq!(fed.parts[2].examination.guarantee, Some(Guarantee::ChangeFeed), "what is better counts");
    assert!(announced.to_string().contains("(intent; lists, finds)"), "{announced}");
    Ok(())
}

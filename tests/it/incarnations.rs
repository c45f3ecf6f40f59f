//! A store that is another one than before, and feeds that are not there.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use smache::{
    Entity, Result, Smache,
    backend::EntityType,
    computed,
    memory::{Loss, Memory, MemorySource},
};
use tokio::time::Instant;

use crate::{
    faulty::{Fault, Faulty},
    functions::{greeting, register, square},
    probe::{until, until_stale, work_until_fresh, work_until_result},
    tasks::held_get,
    waits::until_fresh,
    world::{User, World, memory},
};

#[tokio::test(start_paused = true)]
async fn a_system_starts_as_soon_as_its_sources_are_confirmed() -> Result<()> {
    let world = World::memory();
    world.put(1, "Anna").await?;
    let begin = Instant::now();
    let smache = world.start().await?;
    assert!(smache.get(greeting(1)).await?.is_fresh(), "from the first read on");
    assert!(begin.elapsed() < Duration::from_millis(100), "nothing to wait for, and it took {:?}", begin.elapsed());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_replaced_store_confirms_nothing_until_the_feed_has_replayed() -> Result<()> {
    let memory = memory();
    let world = World::on(memory.clone());
    let smache = world.with_greeting().await?;
    memory.simulate_restart(Loss::Nothing);
    let value = smache.get(greeting(1)).await?;
    assert_eq!((value.as_str(), value.freshness().is_unconfirmed()), ("Hello, Anna", true));
    assert_eq!(value.stale_for(), None, "nothing is known against it");
    until_fresh(&smache, greeting(1)).await;
    assert_eq!(world.probe.runs(), 1, "without a computation");
    world.put(1, "Annie").await?;
    smache.run_until_idle().await?;
    assert_eq!(*smache.get(greeting(1)).await?, "Hello, Annie", "and goes on");
    Ok(())
}

/// A source that only the other program has.
#[derive(Debug, Clone, Serialize, Deserialize, Entity)]
#[entity(source = "posts")]
struct Post {
    #[entity(id)]
    id: u64,
    text: String,
}

#[computed]
async fn shouted(post: Entity<Post>) -> String {
    post.text.to_uppercase()
}

#[tokio::test(start_paused = true)]
async fn each_program_attaches_the_sources_that_it_has_to_a_replaced_store() -> Result<()> {
    let memory = memory();
    let world = World::attached_to(memory.clone());
    world.put(1, "Anna").await?;
    let posts = MemorySource::<Post>::without_feed();
    posts.insert(Post { id: 1, text: "hello".into() })?;
    let users = world.start().await?;
    let other = Smache::builder("world").backend(memory.clone()).source(posts).register::<shouted>().maintenance(false);
    let other = other.build().await?;
    users.get(greeting(1)).await?;
    other.get(shouted(1u64)).await?;
    memory.simulate_restart(Loss::Nothing);
    work_until_fresh(&users, greeting(1)).await?;
    work_until_fresh(&other, shouted(1u64)).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn a_change_around_the_replacement_is_not_lost() -> Result<()> {
    let memory = memory();
    let world = World::on(memory.clone());
    let smache = world.with_greeting().await?;
    memory.simulate_restart(Loss::Nothing);
    world.put(1, "Annie").await?;
    assert_eq!(*work_until_fresh(&smache, greeting(1)).await?, "Hello, Annie");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_emptied_store_is_filled_again() -> Result<()> {
    let memory = memory();
    let world = World::on(memory.clone());
    let smache = world.with_greeting().await?;
    memory.simulate_restart(Loss::Everything);
    assert_eq!(*smache.get(greeting(1)).await?, "Hello, Anna");
    assert_eq!(world.probe.runs(), 2);
    work_until_fresh(&smache, greeting(1)).await?;
    world.put(1, "Annie").await?;
    smache.run_until_idle().await?;
    assert_eq!(*smache.get(greeting(1)).await?, "Hello, Annie");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn reports_of_the_application_cannot_be_replayed_so_that_a_replaced_store_computes_again() -> Result<()> {
    let memory = memory();
    let world = World::attached_to(memory.clone());
    let smache = world.with_greeting().await?;
    memory.simulate_restart(Loss::Nothing);
    assert!(!smache.get(greeting(1)).await?.is_fresh());
    work_until_fresh(&smache, greeting(1)).await?;
    assert_eq!(world.probe.runs(), 2);
    Ok(())
}

/// `invalidate` is acknowledged, and a store that was replaced may have lost it.
#[tokio::test(start_paused = true)]
async fn a_result_without_sources_is_not_confirmed_by_a_replaced_store() -> Result<()> {
    let memory = memory();
    let world = World::attached_to(memory.clone());
    let smache = world.start().await?;
    smache.get(square(3)).await?;
    memory.simulate_restart(Loss::Nothing);
    assert!(!smache.get(square(3)).await?.is_fresh());
    work_until_fresh(&smache, square(3)).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn a_run_that_began_on_another_store_stores_nothing() -> Result<()> {
    let memory = memory();
    let world = World::on(memory.clone());
    let smache = world.with_user("Anna").await?;
    let reader = held_get(&world.probe, &smache, greeting(1)).await;
    memory.simulate_restart(Loss::Nothing);
    world.probe.open();
    let value = reader.await.expect("it does not panic")?;
    assert_eq!((value.as_str(), value.freshness().is_unconfirmed()), ("Hello, Anna", true));
    assert!(smache.peek(greeting(1)).await?.is_none());
    assert_eq!(smache.inspect().stats().await?.process.lost, 1);
    assert_eq!(*smache.get(greeting(1)).await?, "Hello, Anna");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn values_are_not_fresh_after_the_feed_has_ended() -> Result<()> {
    let world = World::memory();
    let leader = world.with_user("Anna").await?;
    let reader = world.builder().feeds(false).build().await?;
    assert!(reader.get(greeting(1)).await?.is_fresh());
    leader.shutdown().await;
    world.put(1, "Annie").await?;
    until_stale(&reader, greeting(1)).await?;
    assert!(reader.get(greeting(1)).await?.freshness().is_unconfirmed());

    let next = world.start().await?;
    next.run_until_idle().await?;
    assert_eq!(*reader.get(greeting(1)).await?, "Hello, Annie", "the next leader continues where the last one ended");
    assert!(reader.is_fresh(greeting(1)).await?);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_fresh_read_without_a_confirmation_computes_each_time() -> Result<()> {
    let world = World::memory();
    let leader = world.with_user("Anna").await?;
    let reader = world.builder().feeds(false).build().await?;
    reader.get(greeting(1)).await?;
    leader.shutdown().await;
    until_stale(&reader, greeting(1)).await?;
    for (runs, name) in [(2, "Annie"), (3, "Anne")] {
        world.put(1, name).await?;
        assert_eq!(*reader.get(greeting(1).fresh()).await?, format!("Hello, {name}"));
        assert_eq!(world.probe.runs(), runs);
    }
    assert_eq!(*reader.get(greeting(1).max_stale(Duration::from_secs(60))).await?, "Hello, Anne");
    assert_eq!(world.probe.runs(), 3, "it was read just now");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn another_system_takes_the_feed_over_at_once_after_a_shutdown() -> Result<()> {
    let world = World::memory();
    let one = world.with_user("Anna").await?;
    let two = world.start().await?;
    two.get(greeting(1)).await?;
    one.shutdown().await;
    let begin = Instant::now();
    world.put(1, "Annie").await?;
    until("the other one delivers", async || {
        two.run_until_idle().await?;
        Ok(*two.get(greeting(1)).await? == "Hello, Annie")
    })
    .await?;
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_falls_behind_its_history_starts_a_new_epoch() -> Result<()> {
    let (backend, faults) = Faulty::of(memory());
    let users = MemorySource::<User>::with_history(10);
    let world = World::new("world", backend, users.clone(), users.clone());
    let smache = world.with_greeting().await?;
    faults.on("invalidate", Fault::Unavailable);
    for n in 0..100 {
        world.put(n, format!("name {n}")).await?;
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!smache.is_fresh(greeting(1)).await?, "the feed does not confirm while it cannot deliver");
    faults.heal();
    work_until_result(&smache, greeting(1), |found| *found == "Hello, name 1").await?;
    let record = smache.inspect().record(&smache.inspect().entry_id(&greeting(1))?).await?.expect("stored");
    assert_eq!(record.entry.epochs.sources[0].0.as_str(), User::SOURCE);
    Ok(())
}

/// An application's own unit test: no worker, no server, no sleep.
#[tokio::test]
async fn a_clock_that_is_moved_by_hand_leaves_the_feed_behind_for_no_test() -> Result<()> {
    let clock = smache::backend::ManualClock::default();
    let users = MemorySource::<User>::new();
    users.insert(User { id: 1, name: "Anna".to_owned() })?;
    let probe = crate::probe::Probe::default();
    let memory = Memory::builder().clock(Arc::new(clock.clone())).build();
    let builder = Smache::builder("unit").backend(memory).source(users.clone()).state(probe.clone());
    let smache = register(builder).build().await?;
    smache.get(greeting(1)).await?;
    clock.advance(Duration::from_secs(3_600));
    smache.run_until_idle().await?;
    assert!(smache.is_fresh(greeting(1)).await?, "nothing changed, and everything was delivered");
    Ok(())
}

//! Readers without a confirmation, and the age of a value that was overtaken while it was computed.

use std::time::Duration;

use smache::{Freshness, Result};

use crate::{
    functions::greeting,
    tasks::{held_get, spawn_get},
    world::{User, World},
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_run_whose_feed_died_meanwhile_confirms_nothing() -> Result<()> {
    let world = World::memory();
    let leader = world.with_user("Anna").await?;
    let smache = world.builder().feeds(false).build().await?;
    let runner = held_get(&world.probe, &smache, greeting(1)).await;
    leader.shutdown().await;
    world.put(1, "Annie").await?;
    tokio::time::sleep(5 * SECOND).await;
    let joined = spawn_get(&smache, greeting(1));
    let choosy = spawn_get(&smache, greeting(1).fresh());
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.probe.open();
    for reader in [runner, joined] {
        let value = reader.await.expect("it does not panic")?;
        assert_eq!((value.as_str(), value.freshness().is_unconfirmed()), ("Hello, Anna", true));
    }
    let value = choosy.await.expect("it does not panic")?;
    assert_eq!(value.as_str(), "Hello, Annie", "what was read before it came is not good enough");
    assert!(!value.is_fresh());
    assert_eq!(world.probe.runs(), 2);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_value_that_was_overtaken_while_it_was_computed_is_stale_since_its_run_began() -> Result<()> {
    let (world, clock) = World::manual();
    let smache = world.with_user("Anna").await?;
    world.probe.close();
    let any = spawn_get(&smache, greeting(1));
    let bounded = spawn_get(&smache, greeting(1).max_stale(4 * SECOND));
    world.probe.arrived(1).await;
    world.put(1, "Annie").await?;
    smache.changed::<User>(&1).await?;
    clock.advance(5 * SECOND);
    world.probe.open();
    let value = any.await.expect("it does not panic")?;
    assert_eq!((value.as_str(), value.stale_for()), ("Hello, Anna", Some(5 * SECOND)));
    assert_eq!(*bounded.await.expect("it does not panic")?, "Hello, Annie", "five seconds are too long");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_stored_value_that_was_overtaken_keeps_the_time_when_its_run_began() -> Result<()> {
    let (world, clock) = World::manual();
    let smache = world.with_user("Anna").await?;
    let reader = held_get(&world.probe, &smache, greeting(1)).await;
    smache.changed::<User>(&1).await?;
    clock.advance(5 * SECOND);
    world.probe.open();
    reader.await.expect("it does not panic")?;
    clock.advance(SECOND);
    assert_eq!(smache.get(greeting(1)).await?.stale_for(), Some(6 * SECOND));
    assert!(!smache.get(greeting(1).max_stale(6 * SECOND)).await?.is_fresh());
    assert_eq!(world.probe.runs(), 1);
    assert!(smache.get(greeting(1).max_stale(5 * SECOND)).await?.is_fresh(), "it is computed again");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn max_stale_accepts_a_confirmation_that_lapsed_a_while_ago() -> Result<()> {
    let world = World::memory();
    let leader = world.with_user("Anna").await?;
    let smache = world.builder().feeds(false).build().await?;
    smache.get(greeting(1)).await?;
    leader.shutdown().await;
    tokio::time::sleep(6 * SECOND).await;
    let value = smache.get(greeting(1).max_stale(10 * SECOND)).await?;
    assert!(matches!(value.freshness(), Freshness::Unconfirmed { since: Some(_) }));
    assert!(value.behind_for().is_some_and(|behind| (3 * SECOND..=6 * SECOND).contains(&behind)), "{value:?}");
    assert_eq!((world.probe.runs(), value.stale_for()), (1, None));
    world.put(1, "Annie").await?;
    tokio::time::sleep(10 * SECOND).await;
    for _ in 0..2 {
        let value = smache.get(greeting(1).max_stale(10 * SECOND)).await?;
        assert_eq!((value.as_str(), world.probe.runs()), ("Hello, Annie", 2), "what was read now is new enough");
    }
    Ok(())
}

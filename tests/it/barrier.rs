//! The barrier at the present of the databases, and the tokens that prove it.

use std::time::Duration;

use smache::{ChangeToken, ErrorKind, Result, backend::Lookup};

use crate::{
    functions::greeting,
    world::{User, World},
};

const SECOND: Duration = Duration::from_secs(1);

async fn lookup(world: &World) -> Result<Lookup> {
    world.store()?.lookup(&[]).await
}

/// A change that the feed has not delivered is not acknowledged: a reader right after the write may get the old value
/// as fresh. After the barrier no reader does, by whichever process leads.
async fn after_the_barrier_every_reader_reads_ones_own_write(world: &World) -> Result<()> {
    let leader = world.with_user("0").await?;
    let other = world.builder().feeds(false).build().await?;
    for round in 1..=30 {
        for smache in [&leader, &other] {
            smache.get(greeting(1).fresh()).await?;
        }
        let name = format!("{round}");
        world.put(1, name.clone()).await?;
        let smache = if round % 2 == 0 { &leader } else { &other };
        let token: ChangeToken =
            if round % 3 == 0 { smache.caught_up().await? } else { smache.caught_up_on::<User>().await? };
        let token: ChangeToken = token.to_string().parse()?;
        assert!(!smache.is_fresh(greeting(1)).await?, "the change is acknowledged: round {round}");
        let want = if round % 2 == 0 { greeting(1).fresh() } else { greeting(1).at_least(token) };
        assert_eq!(*leader.get(want).await?, format!("Hello, {name}"));
        assert_eq!(*other.get(greeting(1).at_least(token)).await?, format!("Hello, {name}"));
    }
    Ok(())
}

on_every_world! {
    after_the_barrier_every_reader_reads_ones_own_write,
}

/// Without a leader the barrier ends, and says which feed it waited for.
#[tokio::test(start_paused = true)]
async fn a_barrier_on_a_feed_without_a_leader_is_a_timeout_that_names_it() -> Result<()> {
    let world = World::memory();
    let smache = world.builder().feeds(false).wait_timeout(3 * SECOND).build().await?;
    world.put(1, "Anna").await?;
    let error = smache.caught_up().await.expect_err("no process leads");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("the feed `memory:users"), "{error}");
    Ok(())
}

/// A change that the application reports is acknowledged at the end of the report.
#[tokio::test(start_paused = true)]
async fn a_barrier_without_feeds_is_passed_at_once() -> Result<()> {
    let world = World::attached();
    let smache = world.with_greeting().await?;
    world.put(1, "Annie").await?;
    smache.changed::<User>(&1).await?;
    let token = smache.caught_up().await?;
    assert_eq!(*smache.get(greeting(1).at_least(token)).await?, "Hello, Annie");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_namespace_is_refused() -> Result<()> {
    let world = World::attached();
    let smache = world.with_user("Anna").await?;
    let other = smache::Smache::builder("elsewhere").backend(smache::memory::Memory::new()).build().await?;
    let token = other.changed_tag("x").await?;
    let error = smache.get(greeting(1).at_least(token)).await.expect_err("its clock counts elsewhere");
    assert_eq!(error.kind(), ErrorKind::Argument);
    assert!(error.to_string().contains("the namespace `world`"), "{error}");
    Ok(())
}

/// The clock of a token counts in its generation of the store. In another one a version says nothing about the change.
#[tokio::test(start_paused = true)]
async fn a_token_of_another_generation_of_the_store_asks_for_a_fresh_value() -> Result<()> {
    let world = World::attached();
    let smache = world.with_user("Anna").await?;
    let token = smache.changed::<User>(&1).await?;
    smache.invalidate_all().await?;
    smache.get(greeting(1)).await?;
    world.put(1, "Annie").await?;
    let later = smache.changed::<User>(&1).await?;
    let before = lookup(&world).await?.validity.epoch;
    assert_eq!(*smache.get(greeting(1).at_least(token)).await?, "Hello, Annie", "not the stale one of a later version");
    world.put(1, "Anne").await?;
    smache.changed::<User>(&1).await?;
    assert_eq!(lookup(&world).await?.validity.epoch, before);
    // The process has not looked since, and says which generation it means: too old a one is safe.
    assert_eq!(*smache.get(greeting(1).at_least(later).at_least(token)).await?, "Hello, Anne");
    Ok(())
}

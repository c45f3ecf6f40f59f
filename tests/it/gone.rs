//! Entities that a call names and that are not there.

use smache::{ErrorKind, Result};

use crate::{
    functions::{greeting, real_name},
    probe::{until, until_stale},
    tasks::held_get,
    world::World,
};

/// A call of an entity that never was has no result, and leaves nothing.
async fn a_call_of_an_absent_user_is_gone(world: &World) -> Result<()> {
    let smache = world.start().await?;
    let error = smache.get(greeting(1)).await.expect_err("the user is absent");
    assert_eq!(error.kind(), ErrorKind::Gone);
    assert!(error.to_string().contains("`users`") && error.to_string().contains('1'), "{error}");
    let stats = smache.inspect().stats().await?;
    assert_eq!((stats.store.entries, stats.store.running, stats.process.failures), (0, 0, 0));
    assert_eq!(smache.run_until_idle().await?, 0);
    smache.shutdown().await;
    Ok(())
}

/// The worker that finds the entity gone removes the entry with its edges and its job; an entity that comes back has a
/// new entry.
async fn an_entry_goes_with_its_entity_and_comes_back_with_it(world: &World) -> Result<()> {
    let smache = world.with_greeting().await?;
    world.remove(1).await?;
    until_stale(&smache, greeting(1)).await?;
    smache.run_until_idle().await?;
    assert!(smache.peek(greeting(1)).await?.is_none());
    assert_eq!(smache.get(greeting(1)).await.expect_err("she is gone").kind(), ErrorKind::Gone);
    let stats = smache.inspect().stats().await?;
    assert_eq!((stats.store.entries, stats.jobs.recompute, stats.jobs.dead_letters), (0, 0, 0));

    world.put(1, "Anna again").await?;
    assert_eq!(smache.run_until_idle().await?, 0, "no reader has asked for her yet");
    let hello = smache.get(greeting(1)).await?;
    assert_eq!((hello.as_str(), hello.is_fresh()), ("Hello, Anna again", true));
    world.put(1, "Annie").await?;
    smache.run_until_idle().await?;
    assert_eq!(*smache.get(greeting(1)).await?, "Hello, Annie");
    smache.shutdown().await;
    Ok(())
}

/// The reader that finds it gone does the same, and is not served the old value.
async fn a_reader_who_finds_the_entity_gone_removes_the_entry(world: &World) -> Result<()> {
    let smache = world.with_greeting().await?;
    world.remove(1).await?;
    assert_eq!(smache.refresh(greeting(1)).await.expect_err("she is gone").kind(), ErrorKind::Gone);
    assert!(smache.peek(greeting(1)).await?.is_none());
    assert_eq!(smache.inspect().stats().await?.store.entries, 0);
    smache.shutdown().await;
    Ok(())
}

/// An entity that goes while a function runs with it.
async fn an_entity_that_goes_during_the_run_takes_the_result_along(world: &World) -> Result<()> {
    let smache = world.with_user("Anna").await?;
    let reader = held_get(&world.probe, &smache, greeting(1)).await;
    world.remove(1).await?;
    until("the change is delivered", async || Ok(smache.inspect().stats().await?.process.changes > 0)).await?;
    world.probe.open();
    let old = reader.await.expect("it does not panic")?;
    assert!(!old.is_fresh());
    until("a worker removes it", async || {
        smache.run_until_idle().await?;
        Ok(smache.peek(greeting(1)).await?.is_none())
    })
    .await?;
    assert_eq!(smache.inspect().stats().await?.store.entries, 0);
    smache.shutdown().await;
    Ok(())
}

/// To a function that loads it itself, an absent entity is an answer and not the end.
async fn a_function_may_take_absence_as_an_answer(world: &World) -> Result<()> {
    let smache = world.with_user("Anna").await?;
    smache.get(real_name(1)).await?;
    world.remove(1).await?;
    smache.run_until_idle().await?;
    let none = smache.get(real_name(1)).await?;
    assert_eq!((none.as_ref(), none.is_fresh()), (None, true));
    assert_eq!(smache.inspect().stats().await?.store.entries, 1);
    smache.shutdown().await;
    Ok(())
}

on_every_world! {
    a_call_of_an_absent_user_is_gone,
    an_entry_goes_with_its_entity_and_comes_back_with_it,
    a_reader_who_finds_the_entity_gone_removes_the_entry,
    an_entity_that_goes_during_the_run_takes_the_result_along,
    a_function_may_take_absence_as_an_answer,
}

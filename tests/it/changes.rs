//! Which changes reach which results.

use smache::{ErrorKind, Result, backend::JobWrites};

use crate::{
    functions::{census, greeting, population, read_first, real_name},
    probe::until_stale,
    tasks::held_get,
    world::{User, World},
};

/// A changed entity makes its dependants stale, wherever the change was made, and only those.
async fn a_change_reaches_exactly_its_dependants(world: &World) -> Result<()> {
    for id in 1..=5 {
        world.put(id, format!("user {id}")).await?;
    }
    let smache = world.start().await?;
    for id in 1..=5 {
        smache.get(greeting(id)).await?;
    }
    world.put(3, "Cleo").await?;
    until_stale(&smache, greeting(3)).await?;
    for id in [1, 2, 4, 5] {
        assert!(smache.is_fresh(greeting(id)).await?, "user {id} did not change");
    }
    let stale = smache.get(greeting(3)).await?;
    assert_eq!(*stale, "Hello, user 3");
    assert!(stale.stale_for().is_some());
    assert_eq!(smache.run_until_idle().await?, 1);
    assert_eq!(*smache.get(greeting(3)).await?, "Hello, Cleo");
    assert_eq!(world.probe.runs(), 6);
    smache.shutdown().await;
    Ok(())
}

/// An entity that was absent at the read is a dependency like any other.
async fn an_absent_entity_is_a_dependency(world: &World) -> Result<()> {
    let smache = world.start().await?;
    assert_eq!(*smache.get(real_name(1)).await?, None);
    assert!(smache.is_fresh(real_name(1)).await?, "`None` is a result too");
    world.put(1, "Anna").await?;
    smache.run_until_idle().await?;
    assert_eq!(smache.get(real_name(1)).await?.as_deref(), Some("Anna"));
    world.remove(1).await?;
    smache.run_until_idle().await?;
    assert_eq!(*smache.get(real_name(1)).await?, None);
    assert_eq!(world.probe.runs(), 3);
    smache.shutdown().await;
    Ok(())
}

/// The later reads of a function depend on its earlier ones; only the last path counts.
async fn dependencies_follow_what_a_run_really_read(world: &World) -> Result<()> {
    world.put(1, "see 2").await?;
    world.put(2, "Ben").await?;
    world.put(3, "Cleo").await?;
    let smache = world.start().await?;
    let name = async || Ok::<_, smache::Error>(smache.get(real_name(1)).await?.as_deref().map(str::to_owned));
    assert_eq!(name().await?.as_deref(), Some("Ben"));
    world.put(2, "Benny").await?;
    smache.run_until_idle().await?;
    assert_eq!(name().await?.as_deref(), Some("Benny"));
    world.put(1, "see 3").await?;
    smache.run_until_idle().await?;
    assert_eq!(name().await?.as_deref(), Some("Cleo"));
    let runs = world.probe.runs();
    world.put(2, "Benjamin").await?;
    smache.run_until_idle().await?;
    assert_eq!(world.probe.runs(), runs, "user 2 is not read any more");
    world.put(3, "Cleopatra").await?;
    smache.run_until_idle().await?;
    assert_eq!((name().await?.as_deref(), world.probe.runs()), (Some("Cleopatra"), runs + 1));
    smache.shutdown().await;
    Ok(())
}

/// A declared source and one that is listed are affected by anything that happens in it.
async fn a_whole_source_is_hit_by_any_change(world: &World) -> Result<()> {
    let smache = world.with_user("Anna").await?;
    assert_eq!(*smache.get(census()).await?, ["Anna"]);
    assert_eq!(*smache.get(population()).await?, 1);
    world.put(2, "Ben").await?;
    smache.run_until_idle().await?;
    assert_eq!(
        (&**smache.get(census()).await?, *smache.get(population()).await?),
        (&["Anna".into(), "Ben".into()][..], 2)
    );
    world.put(1, "Annie").await?;
    smache.run_until_idle().await?;
    assert_eq!(*smache.get(census()).await?, ["Annie", "Ben"]);
    world.remove(2).await?;
    smache.run_until_idle().await?;
    assert_eq!((&**smache.get(census()).await?, *smache.get(population()).await?), (&["Annie".into()][..], 1));
    assert_eq!(world.probe.runs(), 8, "four times each: {:?}", world.probe.log());
    smache.shutdown().await;
    Ok(())
}

on_every_world! {
    a_change_reaches_exactly_its_dependants,
    an_absent_entity_is_a_dependency,
    dependencies_follow_what_a_run_really_read,
    a_whole_source_is_hit_by_any_change,
}

#[tokio::test(start_paused = true)]
async fn when_changed_returns_no_reader_gets_the_value_as_fresh() -> Result<()> {
    let world = World::attached();
    let smache = world.with_greeting().await?;
    world.put(1, "Annie").await?;
    assert!(smache.is_fresh(greeting(1)).await?, "no change was reported");
    let token = smache.changed::<User>(&1).await?;
    assert!(!smache.is_fresh(greeting(1)).await?);
    assert_eq!(*smache.get(greeting(1)).await?, "Hello, Anna");
    assert_eq!(*smache.get(greeting(1).at_least(token)).await?, "Hello, Annie");
    assert!(smache.is_fresh(greeting(1)).await?);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn changed_many_is_one_step_for_all() -> Result<()> {
    let world = World::attached();
    for id in 0..10 {
        world.put(id, "old").await?;
    }
    let smache = world.start().await?;
    for id in 0..10 {
        smache.get(greeting(id)).await?;
    }
    let clock = smache.inspect().stats().await?.store.revision;
    smache.changed_many::<User>(&[2, 3, 5, 7, 7, 99]).await?;
    assert_eq!(smache.inspect().stats().await?.store.revision, clock + 1);
    for id in 0..10 {
        assert_eq!(smache.is_fresh(greeting(id)).await?, ![2, 3, 5, 7].contains(&id), "user {id}");
    }
    smache.changed_many::<User>(&[]).await?;
    assert_eq!(smache.run_until_idle().await?, 4);
    assert_eq!(smache.inspect().stats().await?.process.changes, 6);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn changed_reports_inserts_and_deletes_too() -> Result<()> {
    let world = World::attached();
    let smache = world.start().await?;
    assert_eq!(*smache.get(real_name(1)).await?, None);
    assert_eq!(*smache.get(population()).await?, 0);
    world.put(1, "Anna").await?;
    smache.changed::<User>(&1).await?;
    smache.run_until_idle().await?;
    assert_eq!((smache.get(real_name(1)).await?.as_deref(), *smache.get(population()).await?), (Some("Anna"), 1));
    world.remove(1).await?;
    smache.changed::<User>(&1).await?;
    smache.run_until_idle().await?;
    assert_eq!((smache.get(real_name(1)).await?.as_deref(), *smache.get(population()).await?), (None, 0));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_change_may_be_reported_for_a_source_that_has_a_feed() -> Result<()> {
    let world = World::memory();
    let smache = world.with_greeting().await?;
    world.put(1, "Annie").await?;
    let token = smache.changed::<User>(&1).await?;
    assert_eq!(*smache.get(greeting(1).at_least(token)).await?, "Hello, Annie");
    smache.run_until_idle().await?;
    assert!(smache.is_fresh(greeting(1)).await?);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_change_of_an_unknown_source_is_an_error_that_says_what_to_do() -> Result<()> {
    let world = World::memory();
    let smache = smache::Smache::builder("alone").backend(smache::memory::Memory::new()).build().await?;
    let error = smache.changed::<User>(&1).await.expect_err("not registered");
    assert_eq!(error.kind(), ErrorKind::Unregistered);
    assert!(error.to_string().contains("`users`") && error.to_string().contains(".source("), "{error}");
    assert_eq!(world.store()?.job_writes(), JobWrites::SameStep);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_changed_before_the_first_read_does_not_matter() -> Result<()> {
    let world = World::memory();
    for n in 0..10 {
        world.put(1, format!("name {n}")).await?;
    }
    let smache = world.start().await?;
    world.put(1, "Anna").await?;
    smache.run_until_idle().await?;
    let value = smache.get(greeting(1)).await?;
    assert_eq!((value.as_str(), value.is_fresh(), world.probe.runs()), ("Hello, Anna", true, 1));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_changed_between_its_read_and_the_commit_conflicts() -> Result<()> {
    let world = World::attached();
    let smache = world.with_user("Anna").await?;
    let reader = held_get(&world.probe, &smache, read_first(1)).await;
    world.put(1, "Annie").await?;
    smache.changed::<User>(&1).await?;
    world.probe.open();
    let value = reader.await.expect("it does not panic")?;
    assert_eq!((value.as_deref(), value.is_fresh()), (Some("Anna"), false));
    assert_eq!(smache.inspect().stats().await?.process.conflicts, 1);
    Ok(())
}

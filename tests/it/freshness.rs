//! How fresh a value is, and how fresh a reader wants it.

use std::time::Duration;

use smache::{ErrorKind, Freshness, Result};

use crate::{
    functions::{greeting, lazy_greeting, square},
    probe::Act,
    world::{User, World},
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_value_knows_when_it_was_computed_and_how_old_it_is() -> Result<()> {
    let (world, clock) = World::manual();
    let smache = world.start().await?;
    let computed = smache.get(square(3)).await?;
    assert_eq!((computed.age(), computed.stale_for()), (Duration::ZERO, None));
    clock.advance(5 * SECOND);
    let read = smache.get(square(3)).await?;
    assert_eq!((read.age(), read.computed_at()), (5 * SECOND, computed.computed_at()));
    assert_eq!(read.freshness(), Freshness::Fresh { as_of: computed.computed_at().after(5 * SECOND) });
    assert_eq!(read.stale_for(), None);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_knows_since_when() -> Result<()> {
    let (world, clock) = World::manual();
    let smache = world.start().await?;
    let computed_at = smache.get(square(3)).await?.computed_at();
    clock.advance(2 * SECOND);
    smache.invalidate(square(3)).await?;
    clock.advance(3 * SECOND);
    smache.invalidate(square(3)).await?;
    clock.advance(4 * SECOND);
    let stale = smache.get(square(3)).await?;
    assert_eq!(stale.freshness(), Freshness::Stale { since: computed_at.after(2 * SECOND) }, "since the first change");
    assert_eq!((stale.stale_for(), stale.age()), (Some(7 * SECOND), 9 * SECOND));
    assert!(!stale.is_fresh());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_value_is_used_like_what_it_holds() -> Result<()> {
    let world = World::memory();
    let smache = world.with_user("Anna").await?;
    let hello = smache.get(greeting(1)).await?;
    assert_eq!(hello.len(), "Hello, Anna".len());
    assert!(hello.starts_with("Hello"));
    assert_eq!(hello.to_string(), "Hello, Anna");
    assert!(hello == "Hello, Anna".to_owned(), "compared with a value");
    assert!(format!("{hello:?}").contains("\"Hello, Anna\""));
    let clone = hello.clone();
    assert!(std::ptr::eq(&*clone, &*hello), "clones share the value");
    assert_eq!(clone.freshness(), hello.freshness());
    assert_eq!(*hello.into_shared(), "Hello, Anna");
    assert_eq!(clone.into_inner(), "Hello, Anna");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn fresh_computes_what_is_stale_and_waits() -> Result<()> {
    let world = World::attached();
    let smache = world.with_user("Anna").await?;
    assert_eq!(*smache.get(greeting(1).fresh()).await?, "Hello, Anna");
    assert_eq!(*smache.get(greeting(1).fresh()).await?, "Hello, Anna");
    assert_eq!(world.probe.runs(), 1, "a fresh value is a hit");
    world.put(1, "Annie").await?;
    smache.changed::<User>(&1).await?;
    let value = smache.get(greeting(1).fresh()).await?;
    assert_eq!((value.as_str(), value.is_fresh(), world.probe.runs()), ("Hello, Annie", true, 2));
    assert_eq!(smache.run_until_idle().await?, 0, "its job is taken back");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn fresh_answers_the_error_instead_of_a_stale_value() -> Result<()> {
    let world = World::attached();
    let smache = world.with_greeting().await?;
    smache.changed::<User>(&1).await?;
    world.probe.act(Act::Fail);
    let error = smache.get(greeting(1).fresh()).await.expect_err("it fails");
    assert_eq!(error.kind(), ErrorKind::Function);
    assert_eq!(*smache.get(greeting(1)).await?, "Hello, Anna");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn max_stale_accepts_a_bounded_staleness() -> Result<()> {
    let (world, clock) = World::manual();
    let smache = world.with_greeting().await?;
    clock.advance(60 * SECOND);
    assert_eq!(*smache.get(greeting(1).max_stale(Duration::ZERO)).await?, "Hello, Anna", "its age does not matter");
    world.put(1, "Annie").await?;
    smache.changed::<User>(&1).await?;
    clock.advance(5 * SECOND);
    assert_eq!(*smache.get(greeting(1).max_stale(5 * SECOND)).await?, "Hello, Anna");
    assert_eq!(world.probe.runs(), 1);
    clock.advance(Duration::from_millis(1));
    assert_eq!(*smache.get(greeting(1).max_stale(5 * SECOND)).await?, "Hello, Annie");
    assert_eq!(world.probe.runs(), 2);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn at_least_reads_ones_own_writes_and_no_more() -> Result<()> {
    let world = World::attached();
    let smache = world.with_user("one").await?;
    smache.get(greeting(1)).await?;
    world.put(1, "two").await?;
    let two = smache.changed::<User>(&1).await?;
    assert_eq!(*smache.get(greeting(1).at_least(two)).await?, "Hello, two");
    world.put(1, "three").await?;
    let three = smache.changed::<User>(&1).await?;
    assert_ne!(three, two);
    let value = smache.get(greeting(1).at_least(two)).await?;
    assert_eq!((value.as_str(), value.is_fresh()), ("Hello, two", false), "stale, but not too old");
    assert_eq!(world.probe.runs(), 2);
    assert_eq!(*smache.get(greeting(1).at_least(three).at_least(two)).await?, "Hello, three", "the later one counts");
    assert_eq!(world.probe.runs(), 3);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_change_does_not_force_a_computation_of_a_fresh_value() -> Result<()> {
    let world = World::attached();
    let smache = world.with_greeting().await?;
    let token = smache.changed::<User>(&2).await?;
    assert!(smache.get(greeting(1).at_least(token)).await?.is_fresh());
    assert_eq!(world.probe.runs(), 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn calls_are_cloned_and_shown() {
    let call = greeting(7).fresh().max_stale(SECOND);
    let text = format!("{:?}", call.clone());
    assert!(text.contains('7') && text.contains("fresh: true"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_lazy_value_is_recomputed_by_its_reader_even_if_it_would_take_a_stale_one() -> Result<()> {
    let (world, clock) = World::manual();
    let smache = world.with_user("Anna").await?;
    smache.get(lazy_greeting(1)).await?;
    world.put(1, "Annie").await?;
    smache.changed::<User>(&1).await?;
    clock.advance(SECOND);
    let many = smache.get_many([lazy_greeting(1).max_stale(60 * SECOND)]).await;
    assert_eq!(many[0].as_ref().ok().map(|found| found.as_str()), Some("Hello, Annie"));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_lazy_value_is_served_stale_when_its_function_fails() -> Result<()> {
    let world = World::attached();
    let smache = world.with_user("Anna").await?;
    smache.get(lazy_greeting(1)).await?;
    smache.changed::<User>(&1).await?;
    world.probe.act(Act::Fail);
    for runs in 2..=3 {
        let value = smache.get(lazy_greeting(1)).await?;
        assert_eq!((value.as_str(), value.is_fresh(), world.probe.runs()), ("Hello, Anna", false, runs));
    }
    world.probe.act(Act::Succeed);
    assert!(smache.get(lazy_greeting(1)).await?.is_fresh());
    Ok(())
}

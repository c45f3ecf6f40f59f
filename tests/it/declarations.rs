//! The options of a function.

use std::time::Duration;

use smache::{Computed, Entity, Result, State, computed};

use crate::{
    functions::{lazy_greeting, news},
    probe::{Act, Probe, Refused},
    world::{User, World},
};

mod first {
    use super::*;

    #[computed(id = "reports.total")]
    pub(super) async fn total(n: u32, probe: State<Probe>) -> Result<u32, Refused> {
        probe.pass("first").await?;
        Ok(n)
    }
}

mod second {
    use super::*;

    /// A deploy that changes the meaning.
    #[computed(id = "reports.total", version = 2)]
    pub(super) async fn total(n: u32, probe: State<Probe>) -> Result<u32, Refused> {
        probe.pass("second").await?;
        Ok(n * 2)
    }
}

mod renamed {
    use super::*;

    /// A refactoring that changes nothing.
    #[computed(id = "reports.total")]
    pub(super) async fn sum(number: u32, probe: State<Probe>) -> Result<u32, Refused> {
        probe.pass("renamed").await?;
        Ok(number)
    }
}

mod reshaped {
    use super::*;

    /// A deploy that changes the type.
    #[computed(id = "reports.total")]
    pub(super) async fn total(n: u32, probe: State<Probe>) -> Result<String, Refused> {
        probe.pass("reshaped").await?;
        Ok(n.to_string())
    }
}

#[tokio::test(start_paused = true)]
async fn the_id_is_the_identity_whatever_the_name() -> Result<()> {
    let world = World::memory();
    let one = world.builder().register::<first::total>().build().await?;
    let two = world.builder().register::<renamed::sum>().build().await?;
    assert_eq!(*one.get(first::total(7)).await?, 7);
    assert_eq!(*two.get(renamed::sum(7)).await?, 7);
    assert_eq!(world.probe.log(), ["first"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn another_version_is_another_entry() -> Result<()> {
    let world = World::memory();
    let old = world.builder().register::<first::total>().build().await?;
    let new = world.builder().register::<second::total>().build().await?;
    for _ in 0..2 {
        assert_eq!(*old.get(first::total(7)).await?, 7);
        assert_eq!(*new.get(second::total(7)).await?, 14);
    }
    assert_eq!(world.probe.log(), ["first", "second"]);
    assert_ne!(old.inspect().entry_id(&first::total(7))?, new.inspect().entry_id(&second::total(7))?);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn another_shape_under_the_same_id_is_another_entry() -> Result<()> {
    let world = World::memory();
    let old = world.builder().register::<first::total>().build().await?;
    let new = world.builder().register::<reshaped::total>().build().await?;
    assert_eq!(*old.get(first::total(7)).await?, 7);
    assert_eq!(*new.get(reshaped::total(7)).await?, "7");
    assert_eq!(world.probe.log(), ["first", "reshaped"]);
    Ok(())
}

#[computed(id = "options.all", version = 3, ttl = "90s", timeout = "1500ms", refresh = "on_read", sources(User))]
async fn all_options(user: Entity<User>) -> String {
    user.name.clone()
}

#[tokio::test(start_paused = true)]
async fn the_ttl_of_the_options_is_the_end_of_the_entry() -> Result<()> {
    let (world, clock) = World::manual();
    world.put(1, "Anna").await?;
    let smache = world.builder().register::<all_options>().build().await?;
    smache.get(all_options(1)).await?;
    let key = smache.inspect().entry_id(&all_options(1))?;
    let record = smache.inspect().record(&key).await?.expect("stored");
    let life = record.entry.expires.expect("it ends").since(record.entry.stored_at);
    assert_eq!(life, Duration::from_secs(90));
    assert!(record.lazy, "refreshed on read");
    assert_eq!(record.used.len(), 3, "the function, the user and the whole source: {:?}", record.used);
    clock.advance(Duration::from_secs(89));
    assert!(smache.is_fresh(all_options(1)).await?);
    clock.advance(Duration::from_secs(1));
    assert!(!smache.is_fresh(all_options(1)).await?);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_the_options_bounds_a_run() -> Result<()> {
    let world = World::memory();
    world.put(1, "Anna").await?;
    world.probe.act(Act::Sleep(Duration::from_millis(499)));
    let smache = world.start().await?;
    smache.get(crate::functions::hurried(1)).await?;
    world.probe.act(Act::Sleep(Duration::from_millis(501)));
    let error = smache.refresh(crate::functions::hurried(1)).await.expect_err("too slow");
    assert!(error.to_string().contains("500ms") && error.to_string().contains("hurried"), "{error}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn with_refresh_on_read_the_next_reader_computes_and_waits() -> Result<()> {
    let world = World::memory();
    let smache = world.with_user("Anna").await?;
    assert_eq!(*smache.get(lazy_greeting(1)).await?, "Hello, Anna");
    world.put(1, "Annie").await?;
    assert_eq!(smache.run_until_idle().await?, 0, "there is no job");
    assert_eq!(world.probe.runs(), 1);
    assert!(!smache.is_fresh(lazy_greeting(1)).await?);
    assert_eq!(*smache.peek(lazy_greeting(1)).await?.expect("the old value"), "Hello, Anna");
    let hello = smache.get(lazy_greeting(1)).await?;
    assert_eq!(*hello, "Hello, Annie");
    assert!(hello.is_fresh());
    assert_eq!(world.probe.runs(), 2);
    Ok(())
}

#[test]
fn the_name_of_the_function_is_the_id_unless_another_is_given() {
    let debug = format!("{:?}", news::declaration());
    assert!(debug.contains("\"news\""), "{debug}");
    assert_ne!(news::declaration().hash(), lazy_greeting::declaration().hash());
}

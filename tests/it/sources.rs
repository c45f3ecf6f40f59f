//! Sources that fail, and reads through the context.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use smache::{
    Cx, Error, ErrorKind, Field, Freshness, Result, Smache, State,
    backend::{Capability, DataSource, EntityKey, Image},
    computed,
    memory::MemorySource,
};
use smache_testkit::layer::{Layered, SourceLayer};

use crate::{
    faulty::{self, Fault},
    functions::{Any, greeting, population, real_name},
    probe::{Probe, until, until_stale},
    waits::until_fresh,
    world::{User, World, memory},
};

/// How a source answers its next reads.
#[derive(Debug, Clone, Default)]
struct Mood(Arc<AtomicU8>);

impl Mood {
    const GOOD: u8 = 0;
    const DOWN: u8 = 1;
    const SHORT: u8 = 2;

    fn set(&self, mood: u8) {
        self.0.store(mood, Ordering::SeqCst);
    }
}

/// A table that is read only when it is in the mood; its feed is always.
#[derive(Debug)]
struct Moody(MemorySource<User>, Mood);

#[async_trait]
impl SourceLayer for Moody {
    fn inner(&self) -> &dyn DataSource {
        &self.0
    }

    async fn load(&self, keys: &[EntityKey]) -> Result<Vec<Option<Image>>> {
        match self.1.0.load(Ordering::SeqCst) {
            Mood::DOWN => Err(Error::new(ErrorKind::Unavailable, "the database is being moved")),
            Mood::SHORT => self.0.load(&keys[1..]).await,
            _ => self.0.load(keys).await,
        }
    }

    fn capabilities(&self) -> &[Capability] {
        match self.1.0.load(Ordering::SeqCst) {
            Mood::GOOD => self.0.capabilities(),
            _ => &[],
        }
    }
}

async fn moody() -> Result<(World, Mood)> {
    let users = MemorySource::<User>::new();
    let mood = Mood::default();
    let memory = memory();
    let world = World::new("moody", memory, Layered::new(Moody(users.clone(), mood.clone())), users);
    world.put(1, "Anna").await?;
    Ok((world, mood))
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_source_is_the_readers_and_names_it() -> Result<()> {
    let (world, mood) = moody().await?;
    let smache = world.start().await?;
    mood.set(Mood::DOWN);
    let error = smache.get(greeting(1)).await.expect_err("the source is down");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_transient());
    for part in ["the database is being moved", "users", "greeting"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    mood.set(Mood::GOOD);
    assert!(smache.get(greeting(1)).await?.is_fresh(), "nothing is held against it");
    assert_eq!(smache.inspect().stats().await?.process.bypasses, 0);
    Ok(())
}

/// How many users have the name, by the source's own search.
#[computed]
async fn namesakes(cx: &Cx, name: String) -> Result<usize, Any> {
    let field = Field::<User, String>::new("name", |user| &user.name);
    Ok(cx.find(field.eq(name)).await?.len())
}

#[tokio::test(start_paused = true)]
async fn what_a_source_does_not_declare_is_not_asked_of_it() -> Result<()> {
    let (world, mood) = moody().await?;
    let smache = world.builder().register::<namesakes>().build().await?;
    mood.set(Mood::SHORT);
    let all = smache.get(population()).await.map(drop).expect_err("it does not list");
    let some = smache.get(namesakes("Anna".into())).await.map(drop).expect_err("it does not find");
    for (error, capability) in [(all, "List"), (some, "Find")] {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        for part in ["`users` cannot", &format!("`Capability::{capability}`"), "your own client"] {
            assert!(error.to_string().contains(part), "{part} is not in: {error}");
        }
    }
    mood.set(Mood::GOOD);
    assert_eq!(*smache.get(population()).await?, 1, "it lists where it says so");
    Ok(())
}

/// Tolerates whatever the source answers.
#[computed]
async fn lenient(cx: &Cx, id: i64) -> String {
    cx.load::<User>(&id).await.ok().flatten().map_or_else(|| "nobody".to_owned(), |user| user.name.clone())
}

#[tokio::test(start_paused = true)]
async fn a_function_that_tolerates_a_source_that_fails_is_run_again() -> Result<()> {
    let (world, mood) = moody().await?;
    let smache = world.builder().register::<lenient>().build().await?;
    mood.set(Mood::DOWN);
    assert_eq!(*smache.get(lenient(1)).await?, "nobody");
    assert!(!smache.is_fresh(lenient(1)).await?);
    mood.set(Mood::GOOD);
    assert_eq!(*smache.get(lenient(1).fresh()).await?, "Anna");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_outlives_a_source_that_is_down() -> Result<()> {
    let (world, mood) = moody().await?;
    let smache = world.start().await?;
    smache.get(greeting(1)).await?;
    world.put(1, "Annie").await?;
    until_stale(&smache, greeting(1)).await?;
    mood.set(Mood::DOWN);
    assert!(smache.get(greeting(1).fresh()).await.is_err());
    let stale = smache.get(greeting(1)).await?;
    assert_eq!(*stale, "Hello, Anna");
    assert!(matches!(stale.freshness(), Freshness::Stale { .. }));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_is_worth_the_wait_for_a_slow_store_while_the_source_is_down() -> Result<()> {
    let users = MemorySource::<User>::without_feed();
    let mood = Mood::default();
    let (backend, faults) = faulty::memory();
    let world = World::new("moody", backend, Layered::new(Moody(users.clone(), mood.clone())), users);
    let smache = world.with_user("Anna").await?;
    for call in [1, 2] {
        smache.get(greeting(1)).await?;
        assert_eq!(smache.inspect().stats().await?.process.runs, 1, "{call}");
    }
    mood.set(Mood::DOWN);
    for slow in [Fault::Late(Duration::from_secs(1)), Fault::Late(Duration::from_secs(4))] {
        faults.on("lookup", slow);
        let stored = smache.get(greeting(1)).await?;
        assert_eq!((stored.as_str(), stored.is_fresh()), ("Hello, Anna", true), "{slow:?}");
        faults.heal();
    }
    faults.on("lookup", Fault::Hang);
    let error = smache.get(greeting(1)).await.expect_err("there is nothing to answer");
    assert!(error.to_string().contains("the database is being moved"), "{error}");
    Ok(())
}

/// An outage is no failure of a function: entries that went stale meanwhile are computed after it, without a person or
/// a change.
#[tokio::test(start_paused = true)]
async fn a_worker_outlives_a_source_that_is_down_and_buries_nothing_for_it() -> Result<()> {
    let (world, mood) = moody().await?;
    let smache = world.start().await?;
    smache.get(greeting(1)).await?;
    let worker = smache.worker().start();
    mood.set(Mood::DOWN);
    world.put(1, "Annie").await?;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(smache.inspect().dead_letters(10).await?, []);
    mood.set(Mood::GOOD);
    assert_eq!(*until_fresh(&smache, greeting(1)).await, "Hello, Annie");
    worker.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_source_that_breaks_its_contract_is_found_out() -> Result<()> {
    let (world, mood) = moody().await?;
    let smache = world.start().await?;
    mood.set(Mood::SHORT);
    let error = smache.get(real_name(1)).await.expect_err("no answer for one key");
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.to_string().contains("`users`") && error.to_string().contains("0 entities for 1"), "{error}");
    Ok(())
}

#[computed]
async fn roll_call(cx: &Cx, ids: Vec<i64>, probe: State<Probe>) -> Result<Vec<Option<String>>, Any> {
    probe.pass("roll_call").await?;
    let users = cx.load_many::<User>(&ids).await?;
    Ok(users.into_iter().map(|user| user.map(|user| user.name.clone())).collect())
}

/// Reads in a separate task, through a clone of the context.
#[computed]
async fn elsewhere(cx: &Cx, ids: Vec<i64>, probe: State<Probe>) -> Result<usize, Any> {
    probe.pass("elsewhere").await?;
    let mut found = 0;
    for task in ids.into_iter().map(|id| {
        let cx = cx.clone();
        tokio::spawn(async move { cx.load::<User>(&id).await })
    }) {
        found += usize::from(task.await??.is_some());
    }
    Ok(found)
}

#[tokio::test(start_paused = true)]
async fn many_entities_are_loaded_in_order_and_each_is_a_dependency() -> Result<()> {
    let world = World::memory();
    for (id, name) in [(1, "Anna"), (2, "Ben"), (3, "Cleo")] {
        world.put(id, name).await?;
    }
    let smache = world.builder().register::<roll_call>().build().await?;
    let call = || roll_call(vec![3, 9, 1, 3]);
    let names = |names: [Option<&str>; 4]| names.map(|name| name.map(str::to_owned)).to_vec();
    assert_eq!(*smache.get(call()).await?, names([Some("Cleo"), None, Some("Anna"), Some("Cleo")]));
    assert!(smache.get(roll_call(vec![])).await?.is_empty());
    for (id, runs) in [(2, 2), (9, 3), (1, 4), (3, 5)] {
        world.put(id, "new").await?;
        smache.run_until_idle().await?;
        assert_eq!(world.probe.runs(), runs, "user {id}");
    }
    assert_eq!(*smache.get(call()).await?, names([Some("new"); 4]));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_is_read_in_another_task_is_a_dependency_too() -> Result<()> {
    let world = World::memory();
    world.put(1, "Anna").await?;
    let smache = world.builder().register::<elsewhere>().build().await?;
    assert_eq!(*smache.get(elsewhere(vec![1, 2])).await?, 1);
    world.put(2, "Ben").await?;
    smache.run_until_idle().await?;
    let found = smache.get(elsewhere(vec![1, 2])).await?;
    assert_eq!((*found, found.is_fresh(), world.probe.runs()), (2, true, 2));
    Ok(())
}

/// Another program has it without a feed, and goes again: a feed that is dead must be noticed as before.
#[tokio::test(start_paused = true)]
async fn a_source_that_was_without_a_feed_for_a_while_is_confirmed_by_its_feed_again() -> Result<()> {
    let memory = memory();
    let users = MemorySource::<User>::new();
    users.insert(User { id: 1, name: "Anna".into() })?;
    let builder = || Smache::builder("shop").backend(memory.clone()).state(Probe::default()).register::<greeting>();
    let with_feed = async || builder().source(users.clone()).build().await;

    for leads_meanwhile in [false, true] {
        let first = with_feed().await?;
        first.get(greeting(1)).await?;
        if !leads_meanwhile {
            first.shutdown().await;
        }
        let other = builder().source(MemorySource::<User>::without_feed()).build().await?;
        other.shutdown().await;
        let smache = if leads_meanwhile { first } else { with_feed().await? };
        tokio::time::sleep(Duration::from_secs(10)).await;
        until("the feed confirms", async || Ok(smache.get(greeting(1).fresh()).await?.is_fresh())).await?;
        smache.shutdown().await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let freshness = smache.peek(greeting(1)).await?.expect("stored").freshness();
        assert!(freshness.is_unconfirmed(), "its feed was ended; it led meanwhile: {leads_meanwhile}");
    }
    Ok(())
}

//! Between a write and the feed's delivery of it: the change does not overtake a run that has read the write.

use std::{cell::Cell, fmt::Debug, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use smache::{
    Call, Computed, Cx, Entity, Error, ErrorKind, Result, Smache, State, Worker,
    backend::{Batch, ChangeStream, DataSource, EntityKey, EntityType, Image},
    computed,
    memory::MemorySource,
    on,
};
use smache_testkit::layer::{Layered, SourceLayer};
use tokio::task::JoinHandle;

use crate::{
    functions::{Any, greeting},
    probe::{Act, Probe, work_until_fresh},
    waits::until_fresh,
    world::{User, World, memory},
};

/// The delay of the feed.
const LATE: Duration = Duration::from_millis(50);
/// How long functions take here.
const SLOW: Duration = Duration::from_secs(2);

thread_local! {
    /// Whether the entities of the test cannot be loaded.
    static DOWN: Cell<bool> = const { Cell::new(false) };
    /// How long it takes to list the entities of the test, after they were read.
    static LISTING: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Entities whose feed is late, as one is that asks its server every now and then.
#[derive(Debug)]
struct Late<T>(MemorySource<T>);

#[async_trait]
impl<T: EntityType + Clone + Debug> SourceLayer for Late<T> {
    fn inner(&self) -> &dyn DataSource {
        &self.0
    }

    async fn load(&self, keys: &[EntityKey]) -> Result<Vec<Option<Image>>> {
        if DOWN.with(Cell::get) {
            return Err(Error::new(ErrorKind::Unavailable, "the database is being moved"));
        }
        self.0.load(keys).await
    }

    async fn list(&self) -> Result<Vec<Image>> {
        let all = self.0.list().await;
        tokio::time::sleep(LISTING.with(Cell::get)).await;
        all
    }

    async fn next(&self, stream: &mut dyn ChangeStream) -> Result<Batch> {
        let batch = stream.next().await?;
        if !batch.changes.is_empty() {
            tokio::time::sleep(LATE).await;
        }
        Ok(batch)
    }
}

/// A pet of a user.
#[derive(Debug, Clone, Serialize, Deserialize, Entity)]
#[entity(source = "pets")]
struct Pet {
    #[entity(id)]
    id: i64,
    #[entity(index)]
    owner: i64,
}

/// How many pets a user has.
#[computed]
async fn pets(cx: &Cx, owner: i64, probe: State<Probe>) -> Result<usize, Any> {
    let found = cx.find(Pet::OWNER.eq(owner)).await?.len();
    probe.pass("pets").await?;
    Ok(found)
}

/// How many users there are.
#[computed]
async fn crowd(cx: &Cx, probe: State<Probe>) -> Result<usize, Any> {
    let all = cx.all::<User>().await?.len();
    probe.pass("crowd").await?;
    Ok(all)
}

/// A greeting in a letter.
#[computed]
async fn letter(cx: &Cx, id: i64, probe: State<Probe>) -> Result<String, Any> {
    let greeting = cx.get(greeting(id)).await?;
    probe.pass("letter").await?;
    Ok(format!("{greeting}."))
}

/// Reads a user, and something of the user by its own client.
#[computed]
async fn beside(cx: &Cx, user: Entity<User>, probe: State<Probe>) -> Result<String, Any> {
    cx.depends_on(on::entity::<User>(&user.id))?;
    probe.pass("beside").await?;
    Ok(user.name.clone())
}

/// The same of all users.
#[computed]
async fn poll(cx: &Cx, probe: State<Probe>) -> Result<usize, Any> {
    let many = *cx.get(crowd()).await?;
    probe.pass("poll").await?;
    Ok(many)
}

async fn world() -> Result<(World, Smache, MemorySource<Pet>)> {
    let users = MemorySource::<User>::new();
    let all_pets = MemorySource::<Pet>::new();
    let memory = memory();
    let world = World::new("late", memory, Layered::new(Late(users.clone())), users);
    let builder = world.builder().source(Layered::new(Late(all_pets.clone()))).register::<pets>().register::<crowd>();
    let smache = builder.register::<letter>().register::<beside>().build().await?;
    world.probe.act(Act::Sleep(SLOW));
    DOWN.with(|down| down.set(false));
    Ok((world, smache, all_pets))
}

#[tokio::test(start_paused = true)]
async fn the_first_read_after_an_insert_is_fresh_and_an_update_is_there_in_time() -> Result<()> {
    let (world, smache, _) = world().await?;
    let worker = smache.worker().start();
    for id in 1..=30 {
        world.put(id, "Anna").await?;
        assert!(smache.get(greeting(id)).await?.is_fresh(), "the first read of {id}");
        assert!(smache.is_fresh(greeting(id)).await?);
        world.put(id, "Annie").await?;
        tokio::time::sleep(2 * SLOW).await;
        let found = smache.get(greeting(id)).await?;
        assert_eq!((found.as_str(), found.is_fresh()), ("Hello, Annie", true), "{id}");
    }
    let counters = smache.inspect().stats().await?.process;
    assert_eq!((world.probe.runs(), counters.conflicts, counters.reread), (60, 0, 30), "{counters:?}");
    worker.shutdown(SLOW).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_was_found_listed_and_called_is_read_again_as_well() -> Result<()> {
    let (world, smache, all_pets) = world().await?;
    world.put(1, "Anna").await?;
    assert!(smache.get(crowd()).await?.is_fresh());
    for id in 1..=2 {
        all_pets.insert(Pet { id, owner: 1 })?;
        let found = smache.get(pets(1).fresh()).await?;
        assert!(found.is_fresh() && *found <= 2);
    }
    world.put(3, "Anna").await?;
    assert!(smache.get(letter(3)).await?.is_fresh());
    all_pets.remove(&1)?;
    let left = smache.get(pets(2)).await?;
    assert_eq!((*left, left.is_fresh()), (0, true), "the change is of another owner");
    let counters = smache.inspect().stats().await?.process;
    assert_eq!(counters.conflicts, 0, "{counters:?}");
    assert!(counters.reread >= 4, "{counters:?}");
    Ok(())
}

/// Reads in a task, which has come to the last of some runs when this returns.
async fn reading<F: Computed>(world: &World, smache: &Smache, call: Call<F>, runs: usize) -> JoinHandle<Result<bool>> {
    let before = world.probe.runs();
    let reader = smache.clone();
    let task = tokio::spawn(async move { reader.get(call).await.map(|found| found.is_fresh()) });
    world.probe.arrived(before + runs).await;
    task
}

#[tokio::test(start_paused = true)]
async fn a_change_that_the_run_has_not_seen_is_a_conflict() -> Result<()> {
    let (world, smache, all_pets) = world().await?;
    world.put(1, "Anna").await?;
    let one = reading(&world, &smache, greeting(1), 1).await;
    world.put(1, "Annie").await?;
    assert!(!one.await.expect("it does not panic")?);

    let found = reading(&world, &smache, pets(1), 1).await;
    all_pets.insert(Pet { id: 1, owner: 1 })?;
    assert!(!found.await.expect("it does not panic")?);

    world.put(2, "Anna").await?;
    // The same value again is another state of the entity: the engine cannot know the function's other reads of it.
    let same = reading(&world, &smache, greeting(2), 1).await;
    world.put(2, "Anna").await?;
    assert!(!same.await.expect("it does not panic")?);

    world.put(3, "Anna").await?;
    let nested = reading(&world, &smache, letter(3), 2).await;
    world.put(3, "Annie").await?;
    assert!(!nested.await.expect("it does not panic")?);
    assert_eq!(smache.inspect().stats().await?.process.reread, 1, "the child of the last one");
    Ok(())
}

/// A change that a job has seen is no reason to end it early: a read has answered it, or is about to.
#[tokio::test(start_paused = true)]
async fn a_slow_job_that_has_seen_the_write_goes_on() -> Result<()> {
    for listing in [Duration::ZERO, SLOW] {
        let (world, smache, _) = world().await?;
        world.put(1, "Anna").await?;
        smache.get(crowd()).await?;
        LISTING.with(|slow| slow.set(listing));
        let worker = smache.worker().start();
        world.put(2, "Ben").await?;
        tokio::time::sleep(LATE / 2).await;
        world.put(3, "Cleo").await?;
        world.probe.arrived(2).await;
        until_fresh(&smache, crowd()).await;
        worker.shutdown(SLOW).await;
        LISTING.with(|slow| slow.set(Duration::ZERO));
        let counters = smache.inspect().stats().await?.process;
        assert_eq!((*smache.get(crowd()).await?, world.probe.runs()), (3, 2), "{counters:?}");
        assert_eq!((counters.ended_early, counters.reread), (0, 2), "{counters:?}");
    }
    Ok(())
}

/// A parent at work, of which a child has to be computed again.
async fn at_work(world: &World, smache: &Smache) -> Result<Worker> {
    world.put(1, "Anna").await?;
    smache.get(letter(1)).await?;
    let worker = smache.worker().start();
    world.put(1, "Annie").await?;
    // The child, and then the parent.
    world.probe.arrived(4).await;
    Ok(worker)
}

#[tokio::test(start_paused = true)]
async fn a_child_that_cannot_be_computed_now_does_not_end_its_parent() -> Result<()> {
    let (world, smache, _) = world().await?;
    let worker = at_work(&world, &smache).await?;
    DOWN.with(|down| down.set(true));
    world.put(1, "Anne").await?;
    world.probe.ended(4).await;
    assert_eq!(smache.inspect().stats().await?.process.ended_early, 0);
    DOWN.with(|down| down.set(false));
    assert_eq!(*until_fresh(&smache, letter(1)).await, "Hello, Anne.");
    worker.shutdown(SLOW).await;
    Ok(())
}

/// The child comes to another value, so that the parent ends early; and to the same value in another process, so that
/// it does not.
#[tokio::test(start_paused = true)]
async fn a_parent_ends_early_when_its_child_has_changed() -> Result<()> {
    let (world, smache, _) = world().await?;
    let worker = at_work(&world, &smache).await?;
    world.probe.close();
    world.put(1, "Anne").await?;
    world.probe.arrived(5).await;
    world.probe.open();
    assert_eq!(*until_fresh(&smache, letter(1)).await, "Hello, Anne.");
    worker.shutdown(SLOW).await;
    Ok(())
}

/// The new value of a child that another process still computes is not known yet.
#[tokio::test(start_paused = true)]
async fn a_child_that_another_process_computes_to_the_same_value_does_not_end_its_parent() -> Result<()> {
    let (world, one, _) = world().await?;
    let two =
        world.builder().source(Layered::new(Late(MemorySource::<Pet>::new()))).register::<crowd>().register::<poll>();
    let two = two.build().await?;
    let one = {
        one.shutdown().await;
        world
            .builder()
            .source(Layered::new(Late(MemorySource::<Pet>::new())))
            .register::<crowd>()
            .register::<poll>()
            .build()
            .await?
    };
    world.put(1, "Anna").await?;
    one.get(poll()).await?;
    let workers = [one.worker().start(), two.worker().start()];
    one.invalidate(poll()).await?;
    world.probe.arrived(3).await;
    // As many users as before.
    world.put(1, "Annie").await?;
    for system in [&one, &two] {
        until_fresh(system, poll()).await;
    }
    for worker in workers {
        worker.shutdown(SLOW).await;
    }
    let ended_early =
        one.inspect().stats().await?.process.ended_early + two.inspect().stats().await?.process.ended_early;
    assert_eq!(ended_early, 0, "{:?}", world.probe.log());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_source_fails_when_it_is_read_again_is_overtaken() -> Result<()> {
    let (world, smache, _) = world().await?;
    world.put(1, "Anna").await?;
    let read = reading(&world, &smache, greeting(1), 1).await;
    DOWN.with(|down| down.set(true));
    assert!(!read.await.expect("it does not panic")?);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_the_application_reports_is_a_conflict_whatever_the_entity_shows() -> Result<()> {
    let world = World::attached();
    let smache = world.with_user("Anna").await?;
    world.probe.close();
    let read = reading(&world, &smache, greeting(1), 1).await;
    smache.changed::<User>(&1).await?;
    world.probe.open();
    assert!(!read.await.expect("it does not panic")?);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_is_not_read_through_the_context_alone_cannot_be_shown() -> Result<()> {
    let (world, smache, _) = world().await?;
    world.put(1, "Anna").await?;
    assert!(!smache.get(beside(1)).await?.is_fresh(), "it reads past the context");
    let read = reading(&world, &smache, greeting(1), 1).await;
    smache.invalidate(greeting(1)).await?;
    assert!(!read.await.expect("it does not panic")?, "it was asked to run again");
    work_until_fresh(&smache, beside(1)).await.map(drop)
}

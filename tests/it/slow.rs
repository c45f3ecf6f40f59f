//! Long or endless work: feeds that evaluate, sources that do not open, workers that wait when they shut down.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use smache::{
    Entity, Freshness, Result,
    backend::{ChangeFeed, ChangeStream, DataSource, Start, Topic},
    computed,
    memory::{Memory, MemorySource},
};
use smache_testkit::layer::{Layered, SourceLayer};

use crate::{
    faulty::Fault,
    functions::{greeting, hurried},
    leases::letter,
    probe::{until, until_within},
    tasks::spawn_get,
    waits::until_fresh,
    world::{User, World, memory},
};

const SECOND: Duration = Duration::from_secs(1);

/// How many slow relations were looked at.
static LOOKED: AtomicUsize = AtomicUsize::new(0);

/// Where a user leads takes as many milliseconds to find out as the name says.
#[computed(reads(User), relation(User, async |_cx, user| {
    if let Some(millis) = user.name.strip_prefix("slow ") {
        LOOKED.fetch_add(1, SeqCst);
        tokio::time::sleep(Duration::from_millis(millis.parse().expect("a number"))).await;
    }
    Some(user.id)
}))]
async fn neighbour(user: Entity<User>) -> i64 {
    user.id
}

/// In real time, since that is when a batch is read.
#[tokio::test]
async fn a_batch_confirms_from_when_it_was_read_however_long_it_takes_to_evaluate() -> Result<()> {
    let lease = Duration::from_millis(300);
    let world = World::on(Memory::new());
    world.put(1, "Anna").await?;
    world.put(2, "Ben").await?;
    let smache = world.builder().register::<neighbour>().feed_validity(lease).build().await?;
    smache.get(greeting(2)).await?;
    until_fresh(&smache, greeting(2)).await;
    let looked = LOOKED.load(SeqCst);
    world.put(1, "slow 900").await?;
    until("the feed evaluates", async || Ok(LOOKED.load(SeqCst) > looked)).await?;
    // In the next batch, which is evaluated as long.
    world.put(2, "slow 900").await?;
    let changed = Instant::now();
    loop {
        let asked = changed.elapsed();
        match smache.peek(greeting(2)).await?.expect("it is stored").freshness() {
            Freshness::Stale { .. } => break,
            Freshness::Fresh { .. } => assert!(asked <= lease, "fresh {asked:?} after a change that no feed delivered"),
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    smache.shutdown().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_feed_stays_the_leader_while_it_evaluates() -> Result<()> {
    let (world, faults) = World::faulty();
    world.put(0, "Anna").await?;
    let one = world.builder().register::<neighbour>().build().await?;
    let other = world.builder().register::<neighbour>().build().await?;
    one.get(greeting(0)).await?;
    let leaderships = faults.calls("positions");
    // Sixteen at the same time.
    for id in 0..48 {
        world.put(id, "slow 4900").await?;
    }
    until("it is delivered", async || {
        let found = one.peek(greeting(0)).await?.expect("it is stored");
        Ok(matches!(found.freshness(), Freshness::Stale { .. }))
    })
    .await?;
    assert_eq!(faults.calls("positions"), leaderships, "no leader began again");
    one.shutdown().await;
    other.shutdown().await;
    Ok(())
}

/// Users whose feed does not open the first time.
#[derive(Debug)]
struct Unreachable(MemorySource<User>, AtomicBool);

#[async_trait]
impl SourceLayer for Unreachable {
    fn inner(&self) -> &dyn DataSource {
        &self.0
    }

    async fn open(&self, feed: &dyn ChangeFeed, topics: &[Topic], start: Start) -> Result<Box<dyn ChangeStream>> {
        if !self.1.swap(true, SeqCst) {
            std::future::pending::<()>().await;
        }
        feed.open(topics, start).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_does_not_open_is_opened_again() -> Result<()> {
    let users = MemorySource::<User>::new();
    let memory = memory();
    let world =
        World::new("unreachable", memory, Layered::new(Unreachable(users.clone(), AtomicBool::default())), users);
    let smache = world.with_greeting().await?;
    assert!(!smache.is_fresh(greeting(1)).await?, "no feed confirms yet, and the system starts");
    let worker = smache.worker().start();
    until_within(120 * SECOND, "it is confirmed", async || smache.is_fresh(greeting(1)).await).await?;
    worker.shutdown(SECOND).await;
    smache.shutdown().await;
    Ok(())
}

/// A parent that waits for its child does not outlast the grace, and nor does a job that joined a reader's run.
#[tokio::test(start_paused = true)]
async fn a_worker_that_waits_for_other_runs_shuts_down_after_its_grace() -> Result<()> {
    let world = World::attached();
    world.put(1, "Anna").await?;
    let smache = world.builder().register::<letter>().build().await?;
    smache.get(letter(1)).await?;
    smache.changed::<User>(&1).await?;
    world.probe.close();
    let worker = smache.worker().start();
    world.probe.arrived(3).await;
    tokio::time::timeout(10 * SECOND, worker.shutdown(SECOND)).await.expect("a parent does not outlast the grace");

    let reader = spawn_get(&smache, greeting(1).fresh());
    until("a reader's run is at the gate", async || Ok(world.probe.under_way() > 0)).await?;
    let worker = smache.worker().start();
    until("its job is reserved", async || Ok(smache.inspect().stats().await?.jobs.running > 0)).await?;
    tokio::time::timeout(10 * SECOND, worker.shutdown(SECOND)).await.expect("a job that joined does not either");
    assert!(!reader.is_finished(), "the reader goes on");
    world.probe.open();
    assert!(reader.await.expect("it does not panic")?.is_fresh());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_system_shuts_down_in_the_middle_of_its_maintenance() -> Result<()> {
    let (world, faults) = World::faulty_attached();
    let smache = world.start().await?;
    let rounds = faults.calls("maintain");
    faults.on("maintain", Fault::Hang);
    until("a round hangs", async || Ok(faults.calls("maintain") > rounds)).await?;
    tokio::time::timeout(10 * SECOND, smache.shutdown()).await.expect("it does not wait for it");
    Ok(())
}

/// With a commit that is tried again for a while, beyond the timeout of its function.
#[tokio::test(start_paused = true)]
async fn a_value_that_cannot_be_stored_in_time_is_its_readers_all_the_same() -> Result<()> {
    let (world, faults) = World::faulty_attached();
    let smache = world.with_user("Anna").await?;
    faults.on("commit", Fault::Hang);
    let found = smache.get(hurried(1)).await?;
    assert_eq!((found.as_str(), found.freshness().is_unconfirmed()), ("Anna", true));
    Ok(())
}

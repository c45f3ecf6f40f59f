//! Readers of a store that is silent for a while: they do not wait for it again and again, and ask it when it is back.

use std::time::Duration;

use smache::{ErrorKind, Result, Smache, StoreFailure};
use tokio::time::Instant;

use crate::{
    faulty::{Fault, Faults},
    functions::greeting,
    leases::letter,
    probe::until,
    world::World,
};

/// The default patience of readers.
const PATIENCE: Duration = Duration::from_millis(500);

async fn world() -> Result<(World, Faults, Smache)> {
    let (world, faults) = World::faulty_attached();
    world.put(1, "Anna").await?;
    let smache = world.builder().register::<letter>().build().await?;
    assert!(smache.get(greeting(1)).await?.is_fresh());
    Ok((world, faults, smache))
}

#[tokio::test(start_paused = true)]
async fn readers_of_a_silent_store_go_around_it_at_once_after_some_failures() -> Result<()> {
    let (_world, faults, smache) = world().await?;
    faults.all(Fault::Hang);
    for _ in 0..5 {
        let began = Instant::now();
        assert!(smache.get(greeting(1)).await?.freshness().is_unconfirmed());
        assert_eq!(began.elapsed().as_millis(), PATIENCE.as_millis(), "the usual time is none");
    }
    let began = Instant::now();
    let asked = faults.calls("lookup");
    for _ in 0..50 {
        assert_eq!(*smache.get(greeting(1)).await?, "Hello, Anna");
        assert_eq!(*smache.get_many([greeting(1)]).await.remove(0)?, "Hello, Anna");
        assert_eq!(*smache.get(letter(1)).await?, "Hello, Anna. Yours, us", "nested calls as well");
    }
    assert!(began.elapsed() < Duration::from_millis(50), "{:?}", began.elapsed());
    assert_eq!(faults.calls("lookup"), asked, "it is not asked");

    let mut asked = faults.calls("lookup");
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        smache.get(greeting(1)).await?;
        assert!(faults.calls("lookup") <= asked + 1, "one probe at a time");
        asked = faults.calls("lookup");
    }
    faults.heal();
    until("a probe finds it again", async || {
        tokio::time::sleep(PATIENCE).await;
        Ok(smache.get(greeting(1)).await?.is_fresh())
    })
    .await?;
    assert!(smache.inspect().stats().await?.process.skipped >= 150);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_store_that_has_become_slow_is_waited_for_once_that_is_usual() -> Result<()> {
    let (_world, faults, smache) = world().await?;
    faults.on("lookup", Fault::Late(Duration::from_secs(1)));
    assert!(smache.get(greeting(1)).await?.freshness().is_unconfirmed(), "not at first");
    until("it is known to be slow", async || Ok(smache.get(greeting(1)).await?.is_fresh())).await?;
    let began = Instant::now();
    assert!(smache.get(greeting(1)).await?.is_fresh());
    assert_eq!(began.elapsed().as_secs(), 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn readers_who_ask_for_more_than_a_value_wait_for_the_store() -> Result<()> {
    let (world, faults, smache) = world().await?;
    faults.all(Fault::Hang);
    for _ in 0..10 {
        smache.get(greeting(1)).await?;
    }
    let began = Instant::now();
    let error = smache.get(greeting(1).fresh()).await.expect_err("the store cannot confirm it");
    assert_eq!((error.kind(), began.elapsed().as_secs()), (ErrorKind::Timeout, 5));
    faults.heal();
    assert!(smache.get(greeting(1).fresh()).await?.is_fresh(), "and find it at once when it is back");
    assert!(smache.get(greeting(1)).await?.is_fresh(), "for all");

    let told = world.builder().on_store_failure(StoreFailure::Error).build().await?;
    faults.all(Fault::Hang);
    let began = Instant::now();
    assert_eq!(told.get(greeting(1)).await.expect_err("it hangs").kind(), ErrorKind::Timeout);
    assert_eq!(began.elapsed().as_secs(), 5);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_is_turned_off_asks_each_time() -> Result<()> {
    let (world, faults) = World::faulty_attached();
    world.put(1, "Anna").await?;
    let smache = world.builder().circuit_breaker(0, PATIENCE).read_patience(2 * PATIENCE).build().await?;
    faults.all(Fault::Hang);
    for _ in 0..10 {
        let began = Instant::now();
        smache.get(greeting(1)).await?;
        assert_eq!(began.elapsed().as_millis(), 2 * PATIENCE.as_millis());
    }
    Ok(())
}

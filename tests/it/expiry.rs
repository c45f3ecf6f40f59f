//! The end of entries: their time is over, or there is no room.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use smache::{
    Cx, Error, ErrorKind, Freshness, Result, SourceId, State,
    backend::{ChangedDependency, Dependency, EntityKey, Invalidation, ManualClock},
    computed,
    memory::Memory,
};
use tokio::time::Instant;

use crate::{
    faulty::Faulty,
    functions::{greeting, motto, news, square},
    probe::{Act, Probe},
    tasks::held_refresh,
    world::{RuntimeClock, User, World},
};

const MINUTE: Duration = Duration::from_secs(60);
const A_BIT: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn an_expired_value_is_absent() -> Result<()> {
    let (world, clock) = World::manual();
    let smache = world.builder().maintenance(false).build().await?;
    assert_eq!(*smache.get(news(1)).await?, 1);
    clock.advance(MINUTE - A_BIT);
    assert!(smache.get(news(1)).await?.is_fresh(), "to the last moment");
    clock.advance(A_BIT);
    assert!(smache.peek(news(1)).await?.is_none());
    assert!(!smache.is_fresh(news(1)).await?);
    assert_eq!(smache.inspect().stats().await?.store.entries, 1, "maintenance has not come by yet");
    let again = smache.get(news(1)).await?;
    assert_eq!((*again, again.age()), (2, Duration::ZERO), "its reader computes and waits");
    clock.advance(MINUTE - A_BIT);
    assert_eq!(*smache.get(news(1)).await?, 2, "with its own whole life");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_expired_value_is_not_served_when_its_function_fails() -> Result<()> {
    let (world, clock) = World::manual();
    let smache = world.builder().maintenance(false).build().await?;
    smache.get(news(1)).await?;
    clock.advance(MINUTE);
    world.probe.act(Act::Fail);
    smache.get(news(1)).await.expect_err("its time is over");
    let many = smache.get_many([news(1)]).await;
    assert!(many[0].is_err());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_calls_that_expire_leave_nothing() -> Result<()> {
    let (world, clock) = World::manual();
    world.put(1, "Anna").await?;
    let smache = world.builder().maintenance(false).build().await?;
    for chunk in 0..20 {
        for answer in smache.get_many((0..500).map(|n| motto(1, chunk * 500 + n))).await {
            answer?;
        }
    }
    for n in 0..100 {
        smache.invalidate(motto(1, n)).await?;
    }
    let stats = smache.inspect().stats().await?;
    assert_eq!((stats.store.entries, stats.store.stale, stats.jobs.recompute), (10_000, 100, 100));
    smache.get(square(2)).await?;

    clock.advance(MINUTE);
    assert_eq!(smache.run_until_idle().await?, 0, "no job of an expired entry is run");
    let stats = smache.inspect().stats().await?;
    assert_eq!((stats.store.entries, stats.store.stale, stats.store.running), (1, 0, 0), "but the one without an end");
    let jobs = stats.jobs;
    assert_eq!(jobs.recompute + jobs.propagation + jobs.running + jobs.dead_letters, 0);
    let anna = Dependency::entity(&SourceId::new("users")?, &EntityKey::encode(&1_i64)?);
    let changed = vec![ChangedDependency { dependency: anna, cause: "a test".into() }];
    let invalidated = world.store()?.invalidate(Invalidation { changed, ..Invalidation::default() }).await?;
    assert_eq!(invalidated.marked, 0, "no edge is left");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn maintenance_removes_what_expired_without_being_asked() -> Result<()> {
    let world = World::attached();
    let smache = world.start().await?;
    for n in 0..700 {
        smache.get(news(n)).await?;
    }
    tokio::time::sleep(MINUTE + Duration::from_secs(5)).await;
    assert_eq!(smache.inspect().stats().await?.store.entries, 0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn maintenance_forgets_old_invalidations() -> Result<()> {
    let world = World::attached();
    let smache = world.start().await?;
    for id in 0..1_000 {
        smache.changed::<User>(&id).await?;
    }
    assert!(smache.inspect().stats().await?.store.invalidations > 0);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(smache.inspect().stats().await?.store.invalidations, 0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_value_that_a_worker_recomputed_lives_on() -> Result<()> {
    let (world, clock) = World::manual();
    world.put(1, "Anna").await?;
    let smache = world.builder().maintenance(false).build().await?;
    smache.get(motto(1, 1)).await?;
    clock.advance(MINUTE / 2);
    smache.changed::<User>(&1).await?;
    smache.run_until_idle().await?;
    clock.advance(MINUTE / 2);
    assert!(matches!(smache.get(motto(1, 1)).await?.freshness(), Freshness::Fresh { .. }));
    clock.advance(MINUTE / 2);
    assert!(smache.peek(motto(1, 1)).await?.is_none());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_value_that_expires_while_it_is_computed_again_is_replaced() -> Result<()> {
    let (world, clock) = World::manual();
    let smache = world.builder().run_lease(10 * MINUTE).build().await?;
    smache.get(news(1)).await?;
    let refresh = held_refresh(&world.probe, &smache, news(1)).await;
    clock.advance(MINUTE);
    while world.store()?.maintain(100).await?.more {}
    world.probe.open();
    assert!(refresh.await.expect("it does not panic")?.is_fresh());
    assert_eq!(*smache.get(news(1)).await?, 2);
    Ok(())
}

/// Maintenance removes the entry with its job; until then the job must not be run over and over.
#[tokio::test]
async fn the_job_of_an_expired_entry_does_not_keep_a_worker_busy() -> Result<()> {
    let clock = ManualClock::default();
    let (backend, faults) = Faulty::of(Memory::builder().clock(Arc::new(clock.clone())).build());
    let world = World::attached_to(backend);
    let smache = world.builder().maintenance(false).build().await?;
    smache.get(news(1)).await?;
    smache.invalidate(news(1)).await?;
    clock.advance(MINUTE);
    let before = faults.calls("begin");
    let worker = smache.worker().start();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let tries = faults.calls("begin") - before;
    assert!(tries <= 20, "{tries} tries in 200 ms");
    worker.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn memory_holds_no_more_than_its_capacity_and_forgets_the_rest() -> Result<()> {
    let memory = Memory::builder().capacity(100).clock(Arc::new(RuntimeClock::new())).build();
    let world = World::attached_to(memory);
    let smache = world.with_user("Anna").await?;
    for n in 0..1_000 {
        assert_eq!(*smache.get(square(n)).await?, n * n);
        assert!(smache.is_fresh(square(n)).await?, "the newest one is there");
    }
    smache.invalidate_function::<square>().await?;
    let stats = smache.inspect().stats().await?;
    assert_eq!((stats.store.entries, stats.store.stale, stats.jobs.recompute), (100, 100, 100));
    for n in 1_000..2_000 {
        smache.get(square(n)).await?;
    }
    let stats = smache.inspect().stats().await?;
    assert_eq!(
        (stats.store.entries, stats.store.stale, stats.jobs.recompute),
        (100, 0, 0),
        "jobs go with their entries"
    );
    let runs = world.probe.runs();
    assert_eq!(*smache.get(square(0)).await?, 0);
    assert_eq!(world.probe.runs(), runs + 1, "what was forgotten is computed again");
    assert_eq!(*smache.get(greeting(1)).await?, "Hello, Anna");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_is_read_often_outlives_what_is_not() -> Result<()> {
    let world = World::attached_to(Memory::builder().capacity(50).build());
    let smache = world.start().await?;
    smache.get(square(-7)).await?;
    for n in 0..1_000 {
        smache.get(square(n)).await?;
        assert!(smache.get(square(-7)).await?.is_fresh());
    }
    let log = world.probe.log();
    assert_eq!(log.iter().filter(|run| *run == "square -7").count(), 1);
    Ok(())
}

/// Readers in the moment of expiry: one of them computes, all of them get a value that lives.
#[tokio::test(start_paused = true)]
async fn readers_in_the_moment_of_expiry_compute_once() -> Result<()> {
    let (world, clock) = World::manual();
    let smache = world.start().await?;
    smache.get(news(1)).await?;
    clock.advance(MINUTE);
    let values = Arc::new(Mutex::new(Vec::new()));
    let begin = Instant::now();
    let read = |_| {
        let smache = smache.clone();
        let values = Arc::clone(&values);
        tokio::spawn(async move {
            let value = *smache.get(news(1)).await?;
            values.lock().expect("no holder panics").push(value);
            Ok::<_, Error>(())
        })
    };
    for reader in (0..20).map(read).collect::<Vec<_>>() {
        reader.await.expect("it does not panic")?;
    }
    assert_eq!((values.lock().expect("no holder panics").as_slice(), world.probe.runs()), (&[2; 20][..], 2));
    assert!(begin.elapsed() < Duration::from_secs(1));
    Ok(())
}

/// Made of a greeting, for a minute.
#[computed(ttl = "1m", calls(greeting))]
async fn bulletin(cx: &Cx, id: i64, probe: State<Probe>) -> Result<String> {
    let greeting = cx.get(greeting(id)).await?;
    probe.pass("bulletin").await.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    Ok(greeting.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_value_lives_no_longer_for_being_found_unchanged() -> Result<()> {
    let (world, clock) = World::manual();
    world.put(1, "Anna").await?;
    let smache = world.builder().register::<bulletin>().maintenance(false).build().await?;
    smache.get(bulletin(1)).await?;
    clock.advance(MINUTE / 2);
    smache.changed::<User>(&1).await?;
    smache.run_until_idle().await?;
    assert!(smache.is_fresh(bulletin(1)).await?);
    assert_eq!(world.probe.log(), ["greeting 1", "bulletin", "greeting 1"], "it was not run again");
    clock.advance(MINUTE / 2);
    assert!(smache.peek(bulletin(1)).await?.is_none(), "a minute after its function ran");
    Ok(())
}

//! The lease of a run: only its holder may store the result.

use std::time::Duration;

use smache::{
    Cx, Error, ErrorKind, Result, Smache, State,
    backend::{Abort, Begin, BeginOutcome, Token},
    computed,
};

use crate::{
    faulty::Fault,
    functions::{greeting, square},
    probe::{Probe, until},
    tasks::{held_get, held_refresh, spawn_get},
    world::{User, World},
};

const LEASE: Duration = Duration::from_millis(300);

/// Takes the entry as another process does whose clock shows that the lease has lapsed.
async fn take_over(world: &World, smache: &Smache) -> Result<Token> {
    let id = smache.inspect().entry_id(&greeting(1))?;
    let token = Token::random();
    match world.store()?.begin(Begin { id, token, lease: Duration::from_secs(3_600) }).await? {
        BeginOutcome::Begun(_) => Ok(token),
        BeginOutcome::Busy { remaining } => panic!("the lease holds for {remaining:?}"),
    }
}

/// Ends the run that took over, without a result.
async fn give_up(world: &World, smache: &Smache, token: Token) -> Result<()> {
    let abort = Abort { id: smache.inspect().entry_id(&greeting(1))?, token, failure: None, delay: Duration::ZERO };
    assert!(world.store()?.abort(abort).await?);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_run_longer_than_its_lease_keeps_it() -> Result<()> {
    let world = World::memory();
    let one = start(&world).await?;
    let two = start(&world).await?;
    world.probe.close();
    let first = spawn_get(&one, greeting(1));
    let second = spawn_get(&two, greeting(1));
    world.probe.arrived(1).await;
    tokio::time::sleep(20 * LEASE).await;
    world.probe.open();
    assert!(first.await.expect("it does not panic")?.is_fresh());
    assert!(second.await.expect("it does not panic")?.is_fresh());
    assert_eq!(world.probe.runs(), 1);
    Ok(())
}

#[tokio::test]
async fn a_run_longer_than_its_lease_keeps_it_in_real_time() -> Result<()> {
    let (world, faults) = World::faulty_attached();
    world.put(1, "Anna").await?;
    // No other process may take a lease that a busy machine lets lapse for a moment.
    let smache = world.builder().run_lease(Duration::from_millis(100)).maintenance(false).build().await?;
    let reader = held_get(&world.probe, &smache, greeting(1)).await;
    until("the heart beats for several leases", async || Ok(faults.calls("extend") > 10)).await?;
    world.probe.open();
    assert!(reader.await.expect("it does not panic")?.is_fresh());
    assert_eq!((world.probe.runs(), smache.inspect().stats().await?.process.lost), (1, 0));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_run_that_lost_its_lease_is_cancelled() -> Result<()> {
    let (world, clock) = World::manual();
    let smache = start(&world).await?;
    let reader = held_get(&world.probe, &smache, greeting(1)).await;
    clock.advance(LEASE);
    let other = take_over(&world, &smache).await?;
    world.probe.ended(1).await;
    assert!(!reader.is_finished(), "its reader waits for the one that took over");
    assert_eq!(
        smache.inspect().stats().await?.store.running,
        1,
        "the cancelled run takes nothing from the present one"
    );

    world.probe.open();
    give_up(&world, &smache, other).await?;
    let value = reader.await.expect("it does not panic")?;
    assert_eq!((value.as_str(), value.is_fresh(), world.probe.runs()), ("Hello, Anna", true, 2));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_lost_its_lease_computes_when_it_has_it_again() -> Result<()> {
    let (world, clock) = World::manual();
    let smache = start(&world).await?;
    smache.get(greeting(1)).await?;
    let refresh = held_refresh(&world.probe, &smache, greeting(1)).await;
    clock.advance(LEASE);
    let other = take_over(&world, &smache).await?;
    world.probe.ended(2).await;
    world.probe.open();
    give_up(&world, &smache, other).await?;
    assert!(refresh.await.expect("it does not panic")?.is_fresh());
    assert_eq!(world.probe.runs(), 3);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_result_of_a_zombie_is_not_stored() -> Result<()> {
    let (world, clock) = World::manual();
    let smache = start(&world).await?;
    let reader = held_get(&world.probe, &smache, greeting(1)).await;
    clock.advance(LEASE);
    take_over(&world, &smache).await?;
    // Before the run learns from the next heartbeat that it lost its lease.
    world.probe.open();
    let value = reader.await.expect("it does not panic")?;
    assert_eq!((value.as_str(), value.is_fresh()), ("Hello, Anna", false), "its reader may have it, unconfirmed");
    assert!(smache.peek(greeting(1)).await?.is_none());
    let stats = smache.inspect().stats().await?;
    assert_eq!((stats.store.entries, stats.store.running, stats.process.lost), (0, 1, 1));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_lapsed_lease_that_no_other_run_took_still_stores() -> Result<()> {
    let (world, clock) = World::manual();
    world.put(1, "Anna").await?;
    let smache = world.builder().run_lease(LEASE).maintenance(false).build().await?;
    let reader = held_get(&world.probe, &smache, greeting(1)).await;
    clock.advance(100 * LEASE);
    world.probe.open();
    assert!(reader.await.expect("it does not panic")?.is_fresh());
    assert!(smache.is_fresh(greeting(1)).await?);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn heartbeats_that_fail_for_a_while_do_not_end_a_run() -> Result<()> {
    let (world, faults) = World::faulty_attached();
    let smache = start(&world).await?;
    let reader = held_get(&world.probe, &smache, greeting(1)).await;
    faults.times("extend", Fault::Unavailable, 10);
    until("the heartbeats fail", async || Ok(faults.calls("extend") > 12)).await?;
    world.probe.open();
    assert!(reader.await.expect("it does not panic")?.is_fresh());
    assert_eq!(world.probe.runs(), 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn heartbeats_do_not_end_a_run_that_is_about_to_begin() -> Result<()> {
    let (world, faults) = World::faulty_attached();
    let smache = start(&world).await?;
    let beating = held_get(&world.probe, &smache, square(2)).await;
    faults.times("begin", Fault::Slow(2 * LEASE), 1);
    let beats = faults.calls("extend");
    let begins = faults.calls("begin");
    let reader = spawn_get(&smache, greeting(1));
    tokio::time::sleep(3 * LEASE).await;
    assert!(faults.calls("extend") > beats + 5, "the hearts of all runs beat together");
    world.probe.open();
    assert!(reader.await.expect("it does not panic")?.is_fresh());
    assert_eq!(faults.calls("begin"), begins + 1, "what begins late is not given up");
    assert_eq!(world.probe.runs(), 2);
    beating.await.expect("it does not panic")?;
    Ok(())
}

/// Made of another call.
#[computed(calls(greeting))]
pub(crate) async fn letter(cx: &Cx, id: i64, probe: State<Probe>) -> Result<String> {
    let greeting = cx.get(greeting(id)).await?;
    probe.pass(format!("letter {id}")).await.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    Ok(format!("{}. Yours, us", *greeting))
}

#[tokio::test(start_paused = true)]
async fn a_child_that_lost_its_lease_is_no_reason_to_run_its_parent() -> Result<()> {
    let (world, clock) = World::manual();
    world.put(1, "Anna").await?;
    let smache = world.builder().run_lease(LEASE).register::<letter>().build().await?;
    smache.get(letter(1)).await?;
    smache.changed::<User>(&1).await?;
    let reader = held_get(&world.probe, &smache, letter(1).fresh()).await;
    clock.advance(LEASE);
    let other = take_over(&world, &smache).await?;
    world.probe.ended(3).await;
    give_up(&world, &smache, other).await?;
    world.probe.open();
    assert!(reader.await.expect("it does not panic")?.is_fresh());
    assert_eq!(world.probe.log(), ["greeting 1", "letter 1", "greeting 1", "greeting 1"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn heartbeats_end_with_the_last_run() -> Result<()> {
    let (world, faults) = World::faulty_attached();
    let smache = start(&world).await?;
    for _ in 0..3 {
        smache.refresh(greeting(1)).await?;
    }
    tokio::time::sleep(10 * LEASE).await;
    assert_eq!(faults.calls("extend"), 0, "runs that were over before the first heartbeat");
    let reader = held_refresh(&world.probe, &smache, greeting(1)).await;
    tokio::time::sleep(10 * LEASE).await;
    let beats = faults.calls("extend");
    assert!((20..=40).contains(&beats), "three in a lease, for ten leases: {beats}");
    world.probe.open();
    reader.await.expect("it does not panic")?;
    tokio::time::sleep(10 * LEASE).await;
    assert!(faults.calls("extend") <= beats + 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_entry_was_removed_stores_nothing() -> Result<()> {
    let world = World::attached();
    let smache = world.with_user("Anna").await?;
    let reader = held_get(&world.probe, &smache, greeting(1)).await;
    assert!(world.store()?.remove(&smache.inspect().entry_id(&greeting(1))?, None).await?);
    world.probe.open();
    assert!(!reader.await.expect("it does not panic")?.is_fresh());
    assert!(smache.peek(greeting(1)).await?.is_none());
    assert!(smache.get(greeting(1)).await?.is_fresh());
    Ok(())
}

async fn start(world: &World) -> Result<Smache> {
    world.put(1, "Anna").await?;
    world.builder().run_lease(LEASE).build().await
}

//! Processes that are killed in the middle of it.

use std::{sync::Arc, time::Duration};

use mongodb::bson::doc;
use smache::Smache;
use smache_server_tests::{Order, Sight, State, held};
use tokio::time::{Instant, sleep};

use crate::{
    waits::{until, until_idle, until_result},
    watch::{VALIDITY, Watch, read_calls_on, read_on, write_on},
    world::{World, get, until_report},
};

/// So soon others take over.
const LEASE: Duration = Duration::from_secs(2);

async fn until_run_by(world: &World, process: i64, n: i64) {
    until("run of that process", async || {
        let runs = world.log.count(doc! { "process": process, "n": n }).await.expect("a count");
        if runs > 0 { Ok(()) } else { Err("none") }
    })
    .await;
}

async fn until_held(reader: &Smache, n: i64) {
    until_result(reader, held(1), |found| *found == n).await;
}

#[tokio::test]
async fn the_job_of_a_killed_worker_is_done_by_another_one() {
    job_of_a_killed_worker(World::shared().await).await;
}

/// A worker is killed in the middle of a job, which another one then does.
pub(crate) async fn job_of_a_killed_worker(world: World) {
    let world = world.leased(LEASE);
    world.insert(1, 0).await;
    let feeder = world.node(&world.feeder()).await;
    let first = world.node(&world.worker()).await;
    let reader = world.reader().await;
    world.let_through(1, 0).await;
    assert_eq!(*reader.get(held(1)).await.expect("a value"), 0);

    world.set(1, 1).await;
    until_run_by(&world, first.pid(), 1).await;
    first.kill().await;
    let second = world.node(&world.worker()).await;
    until_run_by(&world, second.pid(), 1).await;
    world.let_through(1, 1).await;
    until_held(&reader, 1).await;
    until_idle(&reader).await;
    world.end([feeder, second]).await;
}

#[tokio::test]
async fn a_reader_that_is_killed_while_it_computes_holds_up_the_others_for_its_lease_only() {
    // Long enough for the survivor not to lose its own.
    let world = World::shared().await.leased(Duration::from_secs(5));
    world.insert(1, 1).await;
    let feeder = world.node(&world.feeder()).await;
    let victim = Arc::new(world.node(&world.setup).await);
    let asking = {
        let victim = Arc::clone(&victim);
        tokio::spawn(async move { victim.try_ask(Order::GetHeld { id: 1 }).await })
    };
    until_run_by(&world, victim.pid(), 1).await;
    asking.abort();
    // The task holds the other handle until it is over.
    let _ = asking.await;
    Arc::into_inner(victim).expect("no task holds it").kill().await;

    world.let_through(1, 1).await;
    let reader = world.reader().await;
    let value = reader.get(held(1)).await.expect("a value");
    assert_eq!(Sight::from(value), Sight { n: 1, state: State::Fresh });
    assert_eq!(world.runs_of(1).await, 2);
    world.end([feeder]).await;
}

#[tokio::test]
async fn another_process_takes_over_the_feed_of_a_killed_one_and_misses_nothing() {
    feed_of_a_killed_process(World::shared().await).await;
}

/// The process that leads the feed is killed, and another one takes over.
pub(crate) async fn feed_of_a_killed_process(world: World) {
    let world = world.watched();
    for id in [1, 2] {
        world.insert(id, 0).await;
    }
    let first = world.node(&world.feeder()).await;
    let second = world.node(&world.feeder()).await;
    let worker = world.node(&world.worker()).await;
    let reader = world.reader().await;
    for id in [1, 2] {
        assert_eq!(get(&reader, id, 0).await.n, 0);
        until_report(&reader, id, 0, 0).await;
    }

    // The first document is written all the time, the second one only while no process leads the feed.
    let busy = Watch::default();
    let quiet = Watch::default();
    let story = async {
        until("some changes", async || if busy.highest() >= 5 { Ok(()) } else { Err(format!("{busy:?}")) }).await;
        let killed = Instant::now();
        first.kill().await;
        world.set(2, 1).await;
        quiet.wrote(1);
        until_report(&reader, 2, 0, 1).await;
        busy.end();
        quiet.end();
        killed.elapsed()
    };
    let writing = write_on(&world, 1, &busy, Duration::from_millis(100));
    let reading = async { tokio::join!(read_on(&reader, 1, 0, &busy), read_on(&reader, 2, 0, &quiet)) };
    let (gap, ..) = tokio::join!(story, writing, reading);
    assert!(gap > VALIDITY, "a process took over before the leadership lapsed: {gap:?}");
    assert!(quiet.states().contains(&State::Unconfirmed), "without a feed nothing is confirmed: {:?}", quiet.states());
    until_report(&reader, 1, 0, busy.last()).await;
    world.end([second, worker]).await;
}

#[tokio::test]
async fn a_worker_that_wakes_after_its_lease_replaces_nothing_newer() {
    worker_that_wakes_after_its_lease(World::shared().await).await;
}

/// A worker is frozen in the middle of a job, which another one then does.
pub(crate) async fn worker_that_wakes_after_its_lease(world: World) {
    let world = world.leased(LEASE).watched();
    world.insert(1, 0).await;
    let feeder = world.node(&world.feeder()).await;
    let frozen = world.node(&world.worker()).await;
    let reader = world.reader().await;
    world.let_through(1, 0).await;
    assert_eq!(*reader.get(held(1)).await.expect("a value"), 0);

    world.set(1, 1).await;
    until_run_by(&world, frozen.pid(), 1).await;
    // The other one must have begun before it wakes.
    frozen.tell(Order::Freeze { millis: 15_000 }).await;
    let other = world.node(&world.worker()).await;
    let watch = Watch::default();
    let story = async {
        until_run_by(&world, other.pid(), 1).await;
        world.set(1, 2).await;
        watch.wrote(2);
        world.let_through(1, 2).await;
        until_held(&reader, 2).await;
        // Its answer comes when it is awake again, and then its earlier run comes to its end.
        frozen.count().await;
        sleep(2 * LEASE).await;
        watch.end();
    };
    tokio::join!(story, read_calls_on(&reader, || held(1), &watch));
    until_held(&reader, 2).await;
    until_idle(&reader).await;
    world.end([feeder, frozen, other]).await;
}

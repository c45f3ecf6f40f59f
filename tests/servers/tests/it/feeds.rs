//! The leader of the feed.

use std::time::Duration;

use smache_server_tests::Order;

use crate::{
    node::Node,
    waits::until,
    watch::{Watch, read_on, write_on},
    world::{World, get, until_report},
};

/// The changes that each has handed to the store: only the leader does.
async fn changes<const N: usize>(nodes: [&Node; N]) -> [u64; N] {
    let mut counted = [0; N];
    for (count, node) in counted.iter_mut().zip(nodes) {
        *count = node.count().await.changes;
    }
    counted
}

/// Some changes later.
async fn until_further(watch: &Watch) {
    let goal = watch.highest() + 5;
    until("further values", async || if watch.highest() >= goal { Ok(()) } else { Err(format!("{watch:?}")) }).await;
}

#[tokio::test]
async fn one_process_leads_the_feed_and_hands_it_over_when_it_ends() {
    let world = World::shared().await;
    world.insert(1, 0).await;
    let first = world.node(&world.feeder()).await;
    let second = world.node(&world.feeder()).await;
    let third = world.node(&world.feeder()).await;
    let worker = world.node(&world.worker()).await;
    let reader = world.reader().await;
    assert_eq!(get(&reader, 1, 0).await.n, 0);
    for n in 1..=3 {
        world.set(1, n).await;
        until_report(&reader, 1, 0, n).await;
    }
    assert_eq!(changes([&first, &second, &third]).await, [3, 0, 0]);

    first.resign().await;
    world.set(1, 4).await;
    until_report(&reader, 1, 0, 4).await;
    for n in 5..=6 {
        world.set(1, n).await;
        until_report(&reader, 1, 0, n).await;
    }
    let [of_first, of_second, of_third] = changes([&first, &second, &third]).await;
    assert_eq!((of_first, of_second.max(of_third), of_second.min(of_third)), (3, 3, 0));
    world.end([first, second, third, worker]).await;
}

#[tokio::test]
async fn a_leader_that_wakes_after_its_time_does_no_harm() {
    leader_that_wakes_after_its_time(World::shared().await).await;
}

/// The process that leads the feed is frozen, and another one takes over.
pub(crate) async fn leader_that_wakes_after_its_time(world: World) {
    let world = world.watched();
    world.insert(1, 0).await;
    let frozen = world.node(&world.feeder()).await;
    let other = world.node(&world.feeder()).await;
    let worker = world.node(&world.worker()).await;
    let reader = world.reader().await;
    assert_eq!(get(&reader, 1, 0).await.n, 0);

    let watch = Watch::default();
    let story = async {
        until_further(&watch).await;
        // The other one must have taken over before it wakes.
        frozen.tell(Order::Freeze { millis: 15_000 }).await;
        until("other leader", async || match other.count().await.changes {
            0 => Err("none"),
            _ => Ok(()),
        })
        .await;
        // Its answer comes when it is awake again. The store refuses the changes that it read before it slept, and then
        // it knows.
        frozen.count().await;
        until_further(&watch).await;
        let [before] = changes([&frozen]).await;
        until_further(&watch).await;
        assert_eq!(changes([&frozen]).await, [before], "two lead");
        watch.end();
    };
    let writing = write_on(&world, 1, &watch, Duration::from_millis(100));
    tokio::join!(story, writing, read_on(&reader, 1, 0, &watch));
    until_report(&reader, 1, 0, watch.last()).await;
    world.end([frozen, other, worker]).await;
}

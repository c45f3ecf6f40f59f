//! Many processes, one computation.

use std::sync::Arc;

use smache_server_tests::{Sight, State};
use tokio::task::JoinSet;

use crate::{
    node::Node,
    world::{World, get, until_sight},
};

const PROCESSES: usize = 6;

#[tokio::test]
async fn processes_that_miss_together_compute_once() {
    misses_together(World::shared().await, 4, 50).await;
}

/// Rounds in which all ask for results that are not stored: of slow functions, and of quick ones.
pub(crate) async fn misses_together(world: World, slow: i64, quick: i64) {
    let slow = 1..=slow;
    let quick = 101..=100 + quick;
    // Before the feed begins: a change that it delivers in the middle of a run makes another one necessary.
    for id in slow.clone().chain(quick.clone()) {
        world.insert(id, id).await;
    }
    let mut nodes: Vec<Arc<Node>> = vec![Arc::new(world.node(&world.feeder()).await)];
    let starting: Vec<Node> = (1..PROCESSES).map(|_| Node::start(&world.setup)).collect();
    for node in starting {
        nodes.push(Arc::new(node.ready().await));
    }
    for id in slow.clone() {
        let mut asked = JoinSet::new();
        for node in &nodes {
            let node = Arc::clone(node);
            asked.spawn(async move { node.get(id, 500).await });
        }
        while let Some(sight) = asked.join_next().await {
            assert_eq!(sight.expect("an answer"), Sight { n: id, state: State::Fresh });
        }
        assert_eq!(world.runs_of(id).await, 1, "round {id}");
    }
    // Short ones: now and then a process looks just before the value is stored and begins just after.
    for id in quick.clone() {
        let mut asked = JoinSet::new();
        for node in &nodes {
            let node = Arc::clone(node);
            asked.spawn(async move { node.get(id, 2).await });
        }
        while let Some(sight) = asked.join_next().await {
            assert_eq!(sight.expect("an answer"), Sight { n: id, state: State::Fresh });
        }
        assert_eq!(world.runs_of(id).await, 1, "short round {id}");
    }
    let mut counted = Vec::new();
    for node in nodes {
        counted.push(node.count().await);
        Arc::into_inner(node).expect("no task holds it").end().await;
    }
    let runs: u64 = counted.iter().map(|counted| counted.runs).sum();
    assert_eq!(runs, slow.chain(quick).count() as u64, "the processes say so themselves: {counted:?}");
    world.end([]).await;
}

#[tokio::test]
async fn processes_that_want_a_stale_value_fresh_compute_once() {
    wanted_fresh_together(World::shared().await, 3).await;
}

/// Rounds in which all want a value that is stale, and wait for a fresh one.
pub(crate) async fn wanted_fresh_together(world: World, rounds: i64) {
    let in_one_step = !world.setup.store.starts_with("mongodb:");
    world.insert(1, 0).await;
    let reader = world.reader().await;
    let mut nodes: Vec<Arc<Node>> = vec![Arc::new(world.node(&world.feeder()).await)];
    let starting: Vec<Node> = (1..PROCESSES).map(|_| Node::start(&world.setup)).collect();
    for node in starting {
        nodes.push(Arc::new(node.ready().await));
    }
    assert_eq!(get(&reader, 1, 500).await.n, 0);
    for n in 1..=rounds {
        world.set(1, n).await;
        until_sight(&reader, 1, 500, n - 1, State::Stale).await;
        let mut asked = JoinSet::new();
        for node in &nodes {
            let node = Arc::clone(node);
            asked.spawn(async move { node.get_fresh(1, 500).await });
        }
        while let Some(sight) = asked.join_next().await {
            assert_eq!(sight.expect("an answer"), Sight { n, state: State::Fresh });
        }
    }
    // Where an invalidation takes several steps, a run may begin after the mark and before the revision grows: it has
    // read the new value, which the store cannot know, so that it is done again.
    let mut counted = Vec::new();
    for node in nodes {
        counted.push(node.count().await);
        Arc::into_inner(node).expect("no task holds it").end().await;
    }
    let overtaken: u64 = counted.iter().map(|counted| counted.conflicts).sum();
    assert_eq!(world.runs_of(1).await, rounds.unsigned_abs() + 1 + overtaken, "{counted:?}");
    assert!(overtaken == 0 || !in_one_step, "{overtaken} runs were overtaken");
    world.end([]).await;
}

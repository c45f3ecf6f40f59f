//! Many processes, one computation.

use std::sync::Arc;

use smache_server_tests::{Doc, Sight, State};
use tokio::task::JoinSet;

use crate::{
    node::Node,
    world::{World, get, until_sight},
};

const PROCESSES: usize = 6;

#[tokio::test]
async fn processes_that_miss_together_compute_once() {
    let world = World::shared().await;
    // Before the feed begins: a change that it tells of in the middle of a run makes another one necessary.
    let docs = (1..=4).chain(101..=150).map(|id| Doc::new(id, id));
    world.docs.insert_many(docs).await.expect("documents");
    let mut nodes: Vec<Arc<Node>> = vec![Arc::new(world.node(&world.feeder()).await)];
    let starting: Vec<Node> = (1..PROCESSES).map(|_| Node::start(&world.setup)).collect();
    for node in starting {
        nodes.push(Arc::new(node.ready().await));
    }
    for id in 1..=4 {
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
    for id in 101..=150 {
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
    let mut runs = 0;
    for node in nodes {
        runs += node.count().await.runs;
        Arc::into_inner(node).expect("nobody asks any more").end().await;
    }
    assert_eq!(runs, 54, "the processes say so themselves");
    world.end().await;
}

#[tokio::test]
async fn processes_that_want_a_stale_value_fresh_compute_once() {
    let world = World::shared().await;
    world.insert(1, 0).await;
    let reader = world.reader().await;
    let mut nodes: Vec<Arc<Node>> = vec![Arc::new(world.node(&world.feeder()).await)];
    let starting: Vec<Node> = (1..PROCESSES).map(|_| Node::start(&world.setup)).collect();
    for node in starting {
        nodes.push(Arc::new(node.ready().await));
    }
    assert_eq!(get(&reader, 1, 500).await.n, 0);
    for n in 1..=3 {
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
    assert_eq!(world.runs_of(1).await, 4);
    for node in nodes {
        Arc::into_inner(node).expect("nobody asks any more").end().await;
    }
    world.end().await;
}

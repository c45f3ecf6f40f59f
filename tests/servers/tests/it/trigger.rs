//! Changes that only the application reports.

use smache_server_tests::{Doc, Setup, Sight, State, report};

use crate::world::{World, get, until_gone, until_report};

/// How long the function takes.
const MILLIS: u64 = 200;

/// A world whose documents are behind no feed.
async fn quiet() -> World {
    let mut world = World::shared().await;
    world.setup.quiet = true;
    world.insert(1, 0).await;
    world
}

#[tokio::test]
async fn a_reported_change_is_stale_everywhere_at_once_and_recomputed_by_a_worker() {
    let world = quiet().await;
    let worker = world.node(&Setup { maintenance: true, ..world.worker() }).await;
    let elsewhere = world.node(&world.setup).await;
    let here = world.reader().await;
    assert_eq!(get(&here, 1, MILLIS).await, Sight { n: 0, state: State::Fresh });

    for n in 1..=5 {
        world.set(1, n).await;
        here.changed::<Doc>(&1).await.expect("a token");
        let seen = elsewhere.peek(1, MILLIS).await.expect("a value");
        assert!(seen == Sight { n, state: State::Fresh } || seen.state == State::Stale, "{seen:?} after {n}");
        until_report(&here, 1, MILLIS, n).await;
        assert_eq!(elsewhere.peek(1, MILLIS).await, Some(Sight { n, state: State::Fresh }));
    }
    assert_eq!(here.inspect().stats().await.expect("numbers").process.runs, 1, "the worker computed all but the first");
    world.end([worker, elsewhere]).await;
}

#[tokio::test]
async fn a_request_reads_its_own_writes_while_workers_of_other_processes_compute() {
    let world = quiet().await;
    let worker = world.node(&Setup { maintenance: true, ..world.worker() }).await;
    let here = world.reader().await;
    assert_eq!(get(&here, 1, MILLIS).await.n, 0);
    for n in 1..=5 {
        world.set(1, n).await;
        let token = here.changed::<Doc>(&1).await.expect("a token");
        let read = here.get(report(1, MILLIS).at_least(token)).await.expect("a value");
        assert_eq!(*read, n);
    }
    world.end([worker]).await;
}

#[tokio::test]
async fn an_unreported_change_is_not_known_and_a_repeated_report_does_no_harm() {
    let world = quiet().await;
    let worker = world.node(&Setup { maintenance: true, ..world.worker() }).await;
    let here = world.reader().await;
    assert_eq!(get(&here, 1, 0).await.n, 0);
    world.set(1, 1).await;
    assert_eq!(get(&here, 1, 0).await, Sight { n: 0, state: State::Fresh }, "no feed tells of it");
    for _ in 0..2 {
        here.changed_many::<Doc>([&1, &2]).await.expect("a token");
        until_report(&here, 1, 0, 1).await;
    }
    world.docs.delete_one(mongodb::bson::doc! { "_id": 1 }).await.expect("a delete");
    here.changed::<Doc>(&1).await.expect("a token");
    until_gone(&here, report(1, 0)).await;
    world.end([worker]).await;
}

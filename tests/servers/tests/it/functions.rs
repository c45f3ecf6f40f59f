//! Programs that do not know the same functions.

use std::time::Duration;

use mongodb::bson::doc;
use smache_server_tests::{Setup, State, label};
use tokio::time::{Instant, sleep};

use crate::{
    waits::{until, until_result},
    world::{World, get, until_report, until_sight},
};

#[tokio::test]
async fn the_job_of_a_function_that_a_worker_does_not_know_is_left_to_another_one() {
    let world = World::shared().await;
    world.insert(1, 0).await;
    let old = world.node(&Setup { knows_report: false, ..world.all_roles() }).await;
    let reader = world.reader().await;
    assert_eq!(get(&reader, 1, 0).await.n, 0);
    assert_eq!(reader.get(label(1)).await.expect("a label").as_deref(), Some(""));

    let update = doc! { "$set": { "n": 1, "label": "one" } };
    world.docs.update_one(doc! { "_id": 1 }, update).await.expect("an update");
    // It does the jobs of the functions that it knows; the others stay.
    until_result(&reader, label(1), |label| label.as_deref() == Some("one")).await;
    until("job that was left to others", async || match old.count().await.unknown_jobs {
        0 => Err("none"),
        _ => Ok(()),
    })
    .await;
    // A job is settled a moment after its result is fresh.
    let there = async || {
        let jobs = reader.inspect().stats().await.map_err(|error| error.report())?.jobs;
        Ok::<_, String>((jobs.propagation + jobs.recompute + jobs.running, jobs))
    };
    until("one job", async || match there().await? {
        (1, _) => Ok(()),
        (_, jobs) => Err(format!("{jobs:?}")),
    })
    .await;
    // It stays in the queue all the time: the reconciler would not have to find it.
    let left = Instant::now();
    while left.elapsed() < Duration::from_secs(1) {
        let (there, jobs) = there().await.expect("numbers");
        assert_eq!(there, 1, "{jobs:?}");
        sleep(Duration::from_millis(10)).await;
    }
    until_sight(&reader, 1, 0, 0, State::Stale).await;
    assert!(reader.inspect().dead_letters(10).await.expect("a list").is_empty());

    let new = world.node(&world.worker()).await;
    until_report(&reader, 1, 0, 1).await;
    world.end([old, new]).await;
}

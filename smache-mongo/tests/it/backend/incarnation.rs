//! Events while it runs: dropped collections, workers of other processes, restarted servers.

use std::{sync::Arc, time::Duration};

use smache_core::{Backend, CommitOutcome, ErrorKind, JobQueue, Lane, NewJob, Reserve};
use smache_mongo::Mongo;
use smache_testkit::servers::MongoServer;
use tokio::time::Instant;

use super::support::{LONG, Own, begin, change, compute, direct, fresh, id, look, namespace, stale, url_of};

/// The bound of a wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn dropped_state_is_another_incarnation_and_confirms_nothing() {
    let own = Own::new().await;
    let (store, queue) = own.mongo.both(&namespace("shop")).expect("both");
    compute(&*store, id(1), "old", &[direct("a")]).await;
    let run = begin(&*store, id(2)).await;
    let before = store.stats().await.expect("stats").revision;
    own.raw("smache_state").drop().await.expect("a drop");

    assert_eq!(look(&*store, id(1)).await, stale("old"));
    assert_eq!(store.commit(run.value("late", &[])).await.expect("commit"), CommitOutcome::OtherIncarnation);
    assert!(look(&*store, id(2)).await.is_none());
    assert!(store.stats().await.expect("stats").revision >= before, "the revision does not go back");
    while store.maintain(100).await.expect("maintain").more {}
    assert_eq!(queue.counts().await.expect("counts").recompute, 1, "maintenance has found the entry");
    compute(&*store, id(1), "new", &[direct("a")]).await;
    assert_eq!(look(&*store, id(1)).await, fresh("new"));
    store.invalidate(change("a")).await.expect("invalidate");
    assert_eq!(look(&*store, id(1)).await, stale("new"));
}

#[tokio::test]
async fn dropped_entries_are_computed_again() {
    let own = Own::new().await;
    let (store, queue) = own.mongo.both(&namespace("shop")).expect("both");
    compute(&*store, id(1), "old", &[direct("a")]).await;
    let run = begin(&*store, id(1)).await;
    own.raw("smache_entries").drop().await.expect("a drop");
    assert!(look(&*store, id(1)).await.is_none());
    assert_eq!(store.commit(run.value("late", &[])).await.expect("commit"), CommitOutcome::Lost);
    assert_eq!(queue.counts().await.expect("counts"), smache_core::JobCounts::default());
    compute(&*store, id(1), "new", &[direct("a")]).await;
    assert_eq!(look(&*store, id(1)).await, fresh("new"));
}

#[tokio::test]
async fn dropped_database_is_made_again_with_its_indexes() {
    let own = Own::new().await;
    let store = own.mongo.store(&namespace("shop")).expect("a store");
    let run = begin(&*store, id(1)).await;
    let incarnation = run.begun.incarnation.clone();
    own.database.drop().await.expect("a drop");
    assert_eq!(store.commit(run.value("late", &[])).await.expect("commit"), CommitOutcome::OtherIncarnation);
    assert_ne!(begin(&*store, id(1)).await.begun.incarnation, incarnation);
    let names = own.raw("smache_entries").list_index_names().await.expect("indexes");
    assert!(names.contains(&"smache_purge".to_owned()), "{names:?}");
}

#[tokio::test]
async fn job_of_another_process_wakes_a_worker() {
    let own = Own::new().await;
    let name = namespace("shop");
    let connect = async || Mongo::connect(&own.url).await.expect("connect").queue(&name).expect("a queue");
    let (waits, adds): (Arc<dyn JobQueue>, _) = (connect().await, connect().await);
    // The first wait ends when the stream is open.
    waits.wait(LONG).await.expect("wait");
    let worker = tokio::spawn(async move {
        let started = Instant::now();
        // A worker's loop: a notification may come without a job.
        while waits.reserve(Reserve::new(Lane::Recompute, 1, LONG)).await.expect("reserve").jobs.is_empty() {
            waits.wait(LONG).await.expect("wait");
        }
        started.elapsed()
    });
    adds.enqueue(&[NewJob::now(id(1), Lane::Recompute)]).await.expect("enqueue");
    let waited = worker.await.expect("the worker");
    assert!(waited < LONG / 2, "it was woken and did not wait for the end: {waited:?}");
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_server_that_is_killed() {
    let server = MongoServer::start().await;
    let url = url_of(&server.uri(), "shop");
    let connect = |bound| Mongo::builder(&url).timeout(bound).connect_timeout(bound).connect();
    let mongo = connect(PATIENCE).await.expect("connect");
    let (store, queue) = mongo.both(&namespace("shop")).expect("both");
    for number in 0..5 {
        compute(&*store, id(number), "value", &[direct("a")]).await;
    }
    let incarnation = store.positions(&[]).await.expect("positions").incarnation;
    store.invalidate(change("a")).await.expect("invalidate");
    // With short bounds, for the call that gets no answer.
    let deadline = Instant::now() + PATIENCE;
    let impatient = loop {
        match connect(Duration::from_secs(2)).await {
            Ok(mongo) => break mongo.store(&namespace("shop")).expect("a store"),
            Err(error) => assert!(error.is_transient() && Instant::now() < deadline, "{}", error.report()),
        }
    };
    server.kill().await;
    let error = impatient.invalidate(change("a")).await.expect_err("the server is down");
    assert!(error.is_transient(), "{}", error.report());
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{}", error.report());
    server.restart().await;
    let deadline = Instant::now() + PATIENCE;
    while store.stats().await.is_err() {
        assert!(Instant::now() < deadline, "it is back");
    }
    assert_eq!(store.positions(&[]).await.expect("positions").incarnation, incarnation, "nothing was lost");
    assert_eq!(look(&*store, id(0)).await, stale("value"));
    assert_eq!(queue.counts().await.expect("counts").recompute, 5);
}

#[tokio::test]
async fn futures_of_the_backend_can_be_spawned() {
    let own = Own::new().await;
    let url = own.url.clone();
    tokio::spawn(async move { Mongo::connect(url).await }).await.expect("the task").expect("connect");
}

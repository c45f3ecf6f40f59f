//! A job that is put off is run when its time comes, and not when its worker happens to look.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use smache::{Entity, Smache, State, backend::Backend, computed, connect, memory::MemorySource};
use smache_testkit::{
    random_namespace,
    servers::{shared_mongo_uri, shared_postgres_url, shared_redis_url},
};

const COST: Duration = Duration::from_millis(100);

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "numbers")]
struct Number {
    #[entity(id)]
    id: u64,
    n: u64,
}

/// How many runs have begun.
#[derive(Clone, Default)]
struct Runs(Arc<AtomicU64>);

#[computed]
async fn slow(number: Entity<Number>, runs: State<Runs>) -> u64 {
    runs.0.fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(COST).await;
    number.n
}

/// A change in the middle of a worker's run, where the worker looks by itself once a minute only.
async fn change_during_a_run(backend: Arc<dyn Backend>) {
    let numbers = MemorySource::<Number>::without_feed();
    let runs = Runs::default();
    numbers.insert(Number { id: 1, n: 0 }).expect("a number is an id");
    let smache = Smache::builder(random_namespace().as_str())
        .backend(backend)
        .source(numbers.clone())
        .state(runs.clone())
        .register::<slow>()
        .build()
        .await
        .expect("a system");
    smache.get(slow(1u64)).await.expect("computes");
    let worker = smache.worker().poll_interval(Duration::from_secs(60)).start();
    let mut n = 0;
    for _ in 0..3 {
        let change = async |n| {
            numbers.update(&1, |number| number.n = n).expect("it is there");
            smache.changed::<Number>(&1).await.expect("a change");
        };
        let before = runs.0.load(Ordering::SeqCst);
        change(n + 1).await;
        while runs.0.load(Ordering::SeqCst) == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        change(n + 2).await;
        n += 2;
        let fresh = async {
            while !smache.peek(slow(1u64)).await.expect("peek").is_some_and(|found| found.is_fresh() && *found == n) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), fresh)
            .await
            .expect("fresh long before the worker looks by itself");
    }
    worker.shutdown(Duration::from_secs(5)).await;
    smache.shutdown().await;
}

#[tokio::test]
async fn job_that_is_put_off_is_run_in_time_on_redis() {
    change_during_a_run(connect(&shared_redis_url()).await.expect("Redis")).await;
}

#[tokio::test]
async fn job_that_is_put_off_is_run_in_time_on_postgres() {
    change_during_a_run(connect(&shared_postgres_url()).await.expect("PostgreSQL")).await;
}

#[tokio::test]
async fn job_that_is_put_off_is_run_in_time_on_mongo() {
    let database = format!("promptly_{}", smache::backend::Token::random());
    let url = shared_mongo_uri().replace("/?", &format!("/{database}?"));
    change_during_a_run(connect(&url).await.expect("MongoDB")).await;
    let client = mongodb::Client::with_uri_str(&url).await.expect("a client");
    client.database(&database).drop().await.expect("it is dropped");
}

#[tokio::test]
async fn job_that_is_put_off_is_run_in_time_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("results.db").display());
    change_during_a_run(connect(&url).await.expect("SQLite")).await;
}

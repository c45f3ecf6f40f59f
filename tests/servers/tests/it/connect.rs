//! Naming a backend on a real server by its URL, in each of the ways that there are.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use smache::{Builder, Connect, Smache, State, computed, connect};
use smache_server_tests::Setup;

use crate::{
    place::{self, Place},
    waits::PATIENCE,
    world::World,
};

#[derive(Clone, Debug, Default)]
struct Ran(Arc<AtomicU64>);

#[computed]
async fn square(ran: State<Ran>, n: u64) -> u64 {
    ran.0.fetch_add(1, Ordering::Relaxed);
    n * n
}

async fn built(builder: Builder) -> (Smache, Ran) {
    let ran = Ran::default();
    let smache = builder.state(ran.clone()).register::<square>().build().await.expect("it connects");
    (smache, ran)
}

/// The first way computes, and each of the others finds the stored result.
async fn works(place: Place, verb: impl Fn(Builder, String) -> Builder, called: &str) {
    let world = World::kept_in(place).await;
    let Setup { namespace, store: url, .. } = world.setup.clone();
    // A step that takes too long would be done without the store: one more run.
    let builder = || Smache::builder(&namespace).store_timeout(2 * PATIENCE).read_patience(2 * PATIENCE);

    let (smache, ran) = built(verb(builder(), url.clone())).await;
    assert_eq!(*smache.get(square(4)).await.expect("a result"), 16);
    assert_eq!(*smache.get(square(4)).await.expect("a result"), 16);
    assert_eq!(ran.0.load(Ordering::Relaxed), 1, "the second one was stored");
    smache.invalidate(square(4)).await.expect("it is marked");
    let jobs = smache.inspect().stats().await.expect("numbers").jobs;
    assert_eq!(jobs.recompute, 1, "there is a queue, and the store writes into it");
    smache.run_until_idle().await.expect("the job is done");
    assert_eq!(ran.0.load(Ordering::Relaxed), 2);
    let diagnosis = smache.inspect().doctor().await;
    for part in &diagnosis.parts {
        assert!(part.examination.what.contains(called), "the {} is {called}: {diagnosis}", part.role);
    }
    smache.shutdown().await;

    for builder in [builder().url(url.clone()), builder().backend(connect(&url).await.expect("it connects"))] {
        let (smache, ran) = built(builder).await;
        let found = smache.get(square(4)).await.expect("a result");
        assert!(*found == 16 && found.is_fresh() && ran.0.load(Ordering::Relaxed) == 0, "{found:?}");
        smache.shutdown().await;
    }
    place::clear(&world.setup).await;
}

#[tokio::test]
async fn a_redis_is_named_by_its_url() {
    works(Place::Redis, Connect::redis, "Redis ").await;
}

#[tokio::test]
async fn a_database_of_postgres_is_named_by_its_url() {
    works(Place::Postgres, Connect::postgres, "PostgreSQL ").await;
}

#[tokio::test]
async fn a_database_of_mongodb_is_named_by_its_url() {
    works(Place::Mongo, Connect::mongo, "MongoDB ").await;
}

#[tokio::test]
async fn a_file_of_sqlite_is_named_by_its_path_or_its_url() {
    let path = |url: String| url.trim_start_matches("sqlite:").to_owned();
    works(Place::Sqlite, |builder, url| builder.sqlite(path(url)), "SQLite ").await;
}

#[test]
fn a_database_is_put_into_any_url_of_mongodb() {
    for (url, expected) in [
        ("mongodb://one", "mongodb://one/x"),
        ("mongodb://one:27017/", "mongodb://one:27017/x"),
        ("mongodb://one,two/?replicaSet=rs", "mongodb://one,two/x?replicaSet=rs"),
        ("mongodb://one?replicaSet=rs", "mongodb://one/x?replicaSet=rs"),
        ("mongodb://me:hush@one/", "mongodb://me:hush@one/x?authSource=admin"),
        ("mongodb://me:hush@one/shop?w=1", "mongodb://me:hush@one/x?w=1&authSource=shop"),
        ("mongodb://me:hush@one/shop?authSource=people", "mongodb://me:hush@one/x?authSource=people"),
        ("mongodb+srv://me:hush@one/shop", "mongodb+srv://me:hush@one/x"),
    ] {
        assert_eq!(crate::url::with_database(url, "x"), expected, "{url}");
    }
}

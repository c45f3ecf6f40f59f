//! A set of three whose primaries are killed and step down.

use std::time::{Duration, Instant};

use mongodb::{Client, bson::doc};
use smache_core::{Backend, DataSource, ErrorKind, Result, Start};
use smache_mongo::{Mongo, MongoSource};
use smache_testkit::servers::MongoSet;

use crate::{
    backend::support::{LONG, change, compute, direct, fresh, id, look, namespace, stale},
    world::{PATIENCE, User, World, told},
};

/// An election takes some seconds, and on a busy machine more.
const ELECTION: Duration = Duration::from_secs(60);

/// Tries again while the set has no primary.
async fn again<T>(mut step: impl AsyncFnMut() -> Result<T>) -> T {
    let deadline = Instant::now() + ELECTION;
    loop {
        match step().await {
            Ok(done) => return done,
            Err(error) => {
                assert!(error.is_transient() && Instant::now() < deadline, "{}", error.report());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn with_database(uri: &str, database: &str) -> String {
    uri.replace("/?", &format!("/{database}?"))
}

#[tokio::test]
async fn a_feed_loses_nothing_over_the_death_of_a_primary_of_a_set_with_passwords() {
    let set = MongoSet::start_guarded("root", "hunter2").await;
    let login = |user: &str| set.uri().replace("mongodb://", &format!("mongodb://{user}:hunter2@"));
    let shop = |user: &str, source: &str| format!("{}&authSource={source}", with_database(&login(user), "shop"));
    let root = World::in_database(&shop("root", "admin"), "shop").await;
    let user =
        doc! { "createUser": "reader", "pwd": "hunter2", "roles": ["read"], "writeConcern": { "w": "majority" } };
    root.db.run_command(user).await.expect("a user");
    root.insert(1, "before").await;
    let world = World::in_database(&shop("reader", "shop"), "shop").await;
    let mut tail = world.tail().await;
    root.insert(2, "before").await;
    assert_eq!(told(&tail.take(1).await), ["people 2 inserted -→before"]);
    root.insert(3, "unread").await;
    let position = tail.position();
    let killed = set.kill_primary().await;
    assert_ne!(set.primary().await, killed);

    let gone = Instant::now();
    // The stream has delivered the last change, or not: it must end.
    let error = loop {
        match tail.stream.next().await {
            Ok(_) => assert!(gone.elapsed() < ELECTION, "the stream of a dead server goes on"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
    again(async || {
        let user = User { id: 4, name: "after".to_owned() };
        let put = root.users.replace_one(doc! { "_id": 4 }, user).upsert(true).await;
        put.map_err(|error| smache_core::Error::new(ErrorKind::Unavailable, "no write").with_source(error))
    })
    .await;
    let mut tail = again(async || world.open(Start::After(position.clone())).await).await;
    let told = told(&tail.take(2).await);
    assert_eq!(told, ["people 3 inserted -→unread", "people 4 inserted -→after"]);
    set.member(killed).restart().await;
}

#[tokio::test]
async fn a_store_keeps_what_it_acknowledged_over_a_step_down_and_a_death() {
    let set = MongoSet::start().await;
    let mongo = Mongo::builder(with_database(&set.uri(), "shop")).timeout(PATIENCE).connect_timeout(LONG).connect();
    let mongo = mongo.await.expect("connect");
    let store = mongo.store(&namespace("shop")).expect("a store");
    compute(&*store, id(1), "one", &[direct("a")]).await;
    compute(&*store, id(2), "two", &[direct("b")]).await;
    let incarnation = store.positions(&[]).await.expect("positions").incarnation;

    set.step_down().await;
    again(async || store.invalidate(change("a")).await).await;
    assert_eq!(look(&*store, id(1)).await, stale("one"));
    assert_eq!(look(&*store, id(2)).await, fresh("two"));

    let killed = set.kill_primary().await;
    set.primary().await;
    again(async || store.invalidate(change("b")).await).await;
    again(async || store.lookup(&[id(1)]).await).await;
    assert_eq!(look(&*store, id(1)).await, stale("one"));
    assert_eq!(look(&*store, id(2)).await, stale("two"));
    assert_eq!(store.positions(&[]).await.expect("positions").incarnation, incarnation, "it is the same set");
    set.member(killed).restart().await;

    // A store or a source of one member is refused, whether that is the primary or not.
    for member in 0..3 {
        let url = with_database(&set.uri_of(member), "shop");
        let error = Mongo::connect(&url).await.expect_err("one of three");
        assert!(matches!(error.kind(), ErrorKind::Config | ErrorKind::Unavailable), "{}", error.report());
        if set.primary().await != member {
            let users =
                Client::with_uri_str(&url).await.expect("a client").database("shop").collection::<User>("users");
            let (feed, topic) = MongoSource::<User>::new(&users).feed().expect("a feed");
            let error = feed.open(&[topic], Start::Now).await.expect_err("a secondary");
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
        }
    }
}

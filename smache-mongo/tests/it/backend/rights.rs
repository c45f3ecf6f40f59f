//! The rights that a user needs, and the errors without them.

use std::time::Duration;

use mongodb::{Client, bson::doc};
use smache_core::{Backend, CacheStore, DataSource, Error, ErrorKind, Lane, NewJob, Reserve, Start};
use smache_mongo::{Mongo, MongoSource};
use smache_testkit::servers::MongoServer;

use super::support::{LONG, change, compute, direct, fresh, id, look, namespace, stale, url_of};
use crate::world::{User, key};

/// A server with authentication and a user for each role on the database `shop`, named like it.
async fn guarded(roles: &[&str]) -> MongoServer {
    let server = MongoServer::builder().guarded_once_restarted().start().await;
    let shop = Client::with_uri_str(server.uri()).await.expect("a client").database("shop");
    for role in roles {
        let known: Vec<&str> = Some(*role).filter(|role| *role != "nobody").into_iter().collect();
        shop.run_command(doc! { "createUser": *role, "pwd": "hunter2", "roles": known }).await.expect("a user");
    }
    server.restart().await;
    server
}

fn url(server: &MongoServer, user: &str) -> String {
    url_of(&server.uri().replace("mongodb://", &format!("mongodb://{user}:hunter2@")), "shop")
}

/// The server takes some time to compare passwords.
async fn connect(server: &MongoServer, user: &str) -> Result<Mongo, Error> {
    Mongo::builder(url(server, user)).connect_timeout(LONG).timeout(LONG).connect().await
}

/// A server that has just become the primary may lack its keys for the time of the cluster, and then refuses users.
async fn until_it_knows_users(store: &dyn CacheStore) {
    let looked = async {
        while let Err(error) = store.lookup(&[]).await {
            assert!(error.is_transient(), "{}", error.report());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, looked).await.expect("the server knows its users");
}

fn assert_lacks(error: &Error, role: &str) {
    assert_eq!(error.kind(), ErrorKind::Permission, "{}", error.report());
    assert!(error.message().contains(role), "{error}");
    assert!(!format!("{error:?} {}", error.report()).contains("hunter2"));
}

#[tokio::test]
async fn user_who_reads_and_writes_one_database_may_do_all_steps() {
    let server = guarded(&["readWrite"]).await;
    let mongo = connect(&server, "readWrite").await.expect("the role is enough");
    let (store, queue) = mongo.both(&namespace("shop")).expect("both");
    compute(&*store, id(1), "one", &[direct("a")]).await;
    assert_eq!(look(&*store, id(1)).await, fresh("one"));
    assert_eq!(store.invalidate(change("a")).await.expect("invalidate").marked, 1);
    assert_eq!(look(&*store, id(1)).await, stale("one"));
    queue.enqueue(&[NewJob::now(id(2), Lane::Recompute)]).await.expect("enqueue");
    let jobs = queue.reserve(Reserve::new(Lane::Recompute, 10, LONG)).await.expect("reserve").jobs;
    assert_eq!(jobs.len(), 2);
    queue.wait(Duration::from_millis(10)).await.expect("wait");
    store.maintain(10).await.expect("maintain");
    store.new_epoch().await.expect("a new epoch");
    // A right that the user lacks is no finding about the server.
    for examination in [store.examine().await.expect("examine"), queue.examine().await.expect("examine")] {
        assert_eq!(examination.findings, []);
    }
}

#[tokio::test]
async fn user_who_only_reads_learns_the_role_and_changes_nothing() {
    let server = guarded(&["read", "readWrite", "nobody"]).await;
    for user in ["read", "nobody"] {
        assert_lacks(&connect(&server, user).await.expect_err("nothing is made yet"), "`readWrite`");
    }
    let owner = connect(&server, "readWrite").await.expect("connect").store(&namespace("shop")).expect("a store");
    compute(&*owner, id(1), "one", &[direct("a")]).await;
    for user in ["read", "nobody"] {
        assert_lacks(&connect(&server, user).await.expect_err("everything is made"), "`readWrite`");
    }
    assert_eq!(look(&*owner, id(1)).await, fresh("one"));
}

#[tokio::test]
async fn user_who_loses_the_role_learns_it_at_the_next_step() {
    let server = guarded(&["readWrite", "userAdmin"]).await;
    let mongo = connect(&server, "readWrite").await.expect("connect");
    let (store, queue) = mongo.both(&namespace("shop")).expect("both");
    compute(&*store, id(1), "one", &[direct("a")]).await;
    let admin = Client::with_uri_str(url(&server, "userAdmin")).await.expect("a client").database("shop");
    let grant = doc! { "grantRolesToUser": "readWrite", "roles": ["read"] };
    admin.run_command(grant).await.expect("another role is given");
    let revoke = doc! { "revokeRolesFromUser": "readWrite", "roles": ["readWrite"] };
    admin.run_command(revoke).await.expect("the role is taken away");
    // Open connections may keep the rights of the moment before.
    server.restart().await;
    until_it_knows_users(&*store).await;
    assert_eq!(look(&*store, id(1)).await, fresh("one"));
    assert_lacks(&store.invalidate(change("a")).await.expect_err("a write"), "`readWrite`");
    assert_lacks(&queue.enqueue(&[NewJob::now(id(2), Lane::Recompute)]).await.expect_err("a write"), "`readWrite`");
    assert_eq!(look(&*store, id(1)).await, fresh("one"));
}

#[tokio::test]
async fn user_who_only_reads_is_enough_for_a_source_and_one_without_a_role_is_not() {
    let server = guarded(&["read", "readWrite", "nobody"]).await;
    let users = async |user: &str| {
        let client = Client::with_uri_str(url(&server, user)).await.expect("a client");
        client.database("shop").collection::<User>("users")
    };
    let ada = User { id: 1, name: "ada".to_owned() };
    users("readWrite").await.insert_one(&ada).await.expect("an insert");
    let of = async |user: &str| MongoSource::<User>::builder(&users(user).await).timeout(LONG).build();
    let source = of("read").await;
    assert_eq!(source.load(&[key(1_i64)]).await.expect("a load").len(), 1);
    source.list().await.expect("a listing");
    let (feed, topic) = source.feed().expect("a feed");
    feed.open(&[topic], Start::Now).await.expect("a feed that is open");
    let findings = source.examine().await.expect("examine").findings;
    assert!(findings.iter().all(|finding| !finding.problem.contains("history")), "{findings:?}");

    let source = of("nobody").await;
    assert_lacks(&source.load(&[key(1_i64)]).await.expect_err("a load"), "role `read`");
    let (feed, topic) = source.feed().expect("a feed");
    assert_lacks(&feed.open(&[topic], Start::Now).await.expect_err("a feed"), "role `read`");
}

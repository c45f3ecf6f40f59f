//! Faults of a server, and the errors of `connect`.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mongodb::{Client, bson::doc};
use smache_core::{Backend, Error, ErrorKind};
use smache_mongo::Mongo;
use smache_testkit::servers::{MongoServer, shared_mongo_uri};

use super::support::{Own, compute, fresh, id, look, namespace, url_of};

/// The bound where a server answers, on a busy machine too.
const LONG_BOUND: Duration = Duration::from_secs(30);

async fn refused(url: &str) -> Error {
    refused_within(url, LONG_BOUND).await
}

/// The error where no server answers.
async fn refused_soon(url: &str) -> Error {
    refused_within(url, Duration::from_secs(1)).await
}

async fn refused_within(url: &str, bound: Duration) -> Error {
    Mongo::builder(url).connect_timeout(bound).timeout(bound).connect().await.expect_err("it cannot be used")
}

#[tokio::test]
async fn url_that_is_not_valid_is_refused_without_its_password() {
    for url in ["localhost", "postgres://user:hunter2@localhost/db", "mongodb://user:hunter2@localhost:port/db"] {
        let error = refused(url).await;
        assert_eq!(error.kind(), ErrorKind::Config, "{url}");
        assert!(error.message().contains("mongodb://"), "{error}");
        let shown = format!("{error} {error:?} {} {:?}", error.report(), Mongo::builder(url));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[tokio::test]
async fn url_without_a_database_is_refused_with_the_fix() {
    let error = refused(&shared_mongo_uri()).await;
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("names no database") && error.message().contains("/database"), "{error}");
}

#[tokio::test]
async fn address_without_a_listener_is_unavailable_soon() {
    let started = Instant::now();
    let error = refused_soon("mongodb://user:hunter2@127.0.0.1:1/db").await;
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unavailable, true));
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(error.to_string().contains("127.0.0.1:1") && !error.report().contains("hunter2"), "{}", error.report());
}

#[tokio::test]
async fn set_whose_name_cannot_be_looked_up_is_unavailable_and_no_bad_url() {
    let error = refused_soon("mongodb+srv://user:hunter2@shop.smache.invalid/db").await;
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unavailable, true), "{}", error.report());
    assert!(error.message().contains("`shop.smache.invalid`"), "{error}");
    assert!(!format!("{error:?} {}", error.report()).contains("hunter2"), "{}", error.report());
}

#[tokio::test]
async fn wrong_password_is_named_and_never_shown() {
    let server = MongoServer::builder().guarded().start().await;
    let url = url_of(&server.uri().replace("mongodb://", "mongodb://anna:hunter2@"), "shop");
    let error = refused(&url).await;
    assert_eq!(error.kind(), ErrorKind::Permission, "{}", error.report());
    assert!(error.message().contains("`readWrite`"), "{error}");
    assert!(!format!("{error:?} {}", error.report()).contains("hunter2"));
}

#[tokio::test]
async fn standalone_server_is_refused_with_the_fix() {
    let server = MongoServer::builder().standalone().start().await;
    let error = refused(&url_of(&server.uri(), "shop")).await;
    assert_eq!(error.kind(), ErrorKind::WrongServer, "{}", error.report());
    assert!(error.message().contains("rs.initiate()"), "{error}");
}

#[tokio::test]
async fn processes_that_start_side_by_side_make_the_collections_once() {
    let own = Own::new().await;
    own.database.drop().await.expect("a drop");
    let all = join_all((0..6).map(|_| Mongo::connect(&own.url))).await;
    let mut stores = all.into_iter().map(|mongo| mongo.expect("connect").store(&namespace("shop")).expect("a store"));
    compute(&*stores.next().expect("the first"), id(1), "one", &[]).await;
    for store in stores {
        assert_eq!(look(&*store, id(1)).await, fresh("one"));
    }
}

#[tokio::test]
async fn collections_of_another_version_are_refused_and_left_alone() {
    let own = Own::new().await;
    let state = own.raw("smache_state");
    for (version, fix) in [(7_i64, "upgrade this program"), (0, "drop them")] {
        state.update_one(doc! { "_id": "smache" }, doc! { "$set": { "version": version } }).await.expect("an update");
        let error = refused(&own.url).await;
        assert_eq!(error.kind(), ErrorKind::WrongServer);
        let text = error.to_string();
        assert!(
            text.contains(&format!("layout {version}")) && text.contains("layout 2") && text.contains(fix),
            "{text}"
        );
        let kept = state.find_one(doc! { "_id": "smache" }).await.expect("find").expect("the document");
        assert_eq!(kept.get_i64("version"), Ok(version));
    }
}

#[tokio::test]
async fn database_of_the_application_is_used_whatever_its_concerns() {
    let own = Own::new().await;
    let client = Client::with_uri_str(format!("{}&readPreference=secondary&w=0", own.url)).await.expect("a client");
    let mongo = Mongo::from_database(&client.database(own.database.name())).await.expect("a good database");
    let store = mongo.store(&namespace("given")).expect("a store");
    compute(&*store, id(1), "one", &[]).await;
    assert_eq!(look(&*store, id(1)).await, fresh("one"));
}

#[tokio::test]
async fn doctor_names_the_server_and_no_secret() {
    let own = Own::new().await;
    let (store, queue) = own.mongo.both(&namespace("shop")).expect("both");
    for examination in [store.examine().await.expect("examine"), queue.examine().await.expect("examine")] {
        assert!(examination.what.starts_with("MongoDB ") && examination.what.contains("127.0.0.1"), "{examination:?}");
        assert_eq!(examination.findings, []);
    }
    let shown = format!("{:?} {store:?} {queue:?}", own.mongo);
    assert!(shown.contains(own.database.name()) && shown.contains("shop"), "{shown}");
}

#[tokio::test]
async fn namespaces_of_one_database_are_apart() {
    let own = Own::new().await;
    let [one, two] = ["one", "two"].map(|name| own.mongo.store(&namespace(name)).expect("a store"));
    compute(&*one, id(1), "one", &[]).await;
    assert!(look(&*two, id(1)).await.is_none());
    two.new_epoch().await.expect("new epoch");
    assert_eq!(look(&*one, id(1)).await, fresh("one"));
    assert_eq!(two.stats().await.expect("stats").entries, 0);
}

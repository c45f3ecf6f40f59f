//! Servers that are absent, are others, or refuse the client: an error that says so, soon, and without secrets.

use std::time::Duration;

use mongodb::Client;
use smache::{Error, ErrorKind, Smache, mongo::MongoSource, redis::Redis};
use smache_server_tests::{Doc, label};
use smache_testkit::servers::{MongoServer, RedisServer, free_port, shared_mongo_uri, shared_redis_url};
use tokio::time::timeout;

/// Twice what a start may take, on a busy machine.
const BOUND: Duration = Duration::from_secs(30);
const SECRET: &str = "s3cret-p4ss";

/// An address without a server.
fn closed_port() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// The authority of a URL: host and port.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").expect("a URL").1;
    rest.split(['/', '?']).next().expect("there is a first part").rsplit('@').next().expect("there is a last part")
}

async fn connect_error(url: &str) -> Error {
    let connected = timeout(BOUND, Redis::connect(url)).await;
    checked(connected.unwrap_or_else(|_| panic!("no answer about {url} within {BOUND:?}")).expect_err("refused"))
}

/// The error of building a system with its documents there.
async fn build_error(uri: &str) -> Error {
    let docs = Client::with_uri_str(uri).await.expect("a client").database("shop").collection::<Doc>("docs");
    let redis = Redis::connect(shared_redis_url()).await.expect("a Redis");
    let name = format!("it_{}", mongodb::bson::oid::ObjectId::new().to_hex());
    let builder = Smache::builder(name).backend(redis).source(MongoSource::<Doc>::new(&docs)).register::<label>();
    let built = timeout(BOUND, builder.build()).await;
    checked(built.unwrap_or_else(|_| panic!("no answer about {uri} within {BOUND:?}")).expect_err("refused"))
}

/// Whatever is wrong, no secret is shown.
fn checked(error: Error) -> Error {
    let shown = format!("{error} {error:?} {}", error.report());
    assert!(!shown.contains(SECRET), "{shown}");
    error
}

#[track_caller]
fn says(error: &Error, kinds: &[ErrorKind], words: &[&str]) {
    assert!(kinds.contains(&error.kind()), "{error:?}");
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_named_with_what_to_do() {
    let closed = closed_port();
    let error = connect_error(&format!("redis://:{SECRET}@{closed}")).await;
    says(&error, &[ErrorKind::Unavailable], &[&closed, "start the server or check the URL"]);
}

#[tokio::test]
async fn a_redis_that_asks_for_another_password_is_named_with_what_to_do() {
    let redis = RedisServer::builder().password("another").start().await;
    let there = format!("127.0.0.1:{}", redis.port());
    let wrong = connect_error(&format!("redis://:{SECRET}@{there}")).await;
    says(&wrong, &[ErrorKind::Permission], &[&there, "password"]);
    let none = connect_error(&format!("redis://{there}")).await;
    says(&none, &[ErrorKind::Permission], &[&there, "password"]);
    let not_a_url = connect_error(&format!("http://:{SECRET}@{there}")).await;
    says(&not_a_url, &[ErrorKind::Config], &["redis://"]);
}

#[tokio::test]
async fn a_mongodb_in_the_place_of_a_redis_is_found_out() {
    let mongo = shared_mongo_uri();
    let there = authority(&mongo);
    let error = connect_error(&format!("redis://:{SECRET}@{there}")).await;
    says(&error, &[ErrorKind::Timeout, ErrorKind::WrongServer, ErrorKind::Unavailable], &[there, "Redis"]);
}

#[tokio::test]
async fn a_mongodb_that_is_not_there_is_named_with_what_to_do() {
    let uri = format!("mongodb://anna:{SECRET}@{}/?directConnection=true", closed_port());
    says(&build_error(&uri).await, &[ErrorKind::Unavailable], &["mongo:shop", "check that it runs"]);
}

#[tokio::test]
async fn a_redis_in_the_place_of_a_mongodb_is_found_out() {
    let uri = format!("mongodb://{}/?directConnection=true", authority(&shared_redis_url()));
    says(&build_error(&uri).await, &[ErrorKind::Unavailable, ErrorKind::WrongServer], &["mongo:shop", "check that it"]);
}

#[tokio::test]
async fn a_mongodb_that_asks_for_another_password_is_named_with_what_to_do() {
    let mongo = MongoServer::builder().guarded().start().await;
    let uri = mongo.uri().replace("mongodb://", &format!("mongodb://anna:{SECRET}@"));
    says(&build_error(&uri).await, &[ErrorKind::Permission], &["mongo:shop", "credentials", "role `read`"]);
}

#[tokio::test]
async fn a_mongodb_without_a_replica_set_is_named_with_what_to_do() {
    let mongo = MongoServer::builder().standalone().start().await;
    says(&build_error(&mongo.uri()).await, &[ErrorKind::WrongServer], &["mongo:shop", "rs.initiate()"]);
}

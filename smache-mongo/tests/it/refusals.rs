//! Unusable servers are refused, and soon.

use std::time::{Duration, Instant};

use mongodb::Client;
use smache_core::{DataSource, Error, ErrorKind, Start};
use smache_mongo::MongoSource;
use smache_testkit::servers::MongoServer;
use tokio::net::TcpListener;

use crate::world::{User, World, key, topic};

const BOUND: Duration = Duration::from_secs(2);

/// Enough for the server to compare a password.
const LONG_BOUND: Duration = Duration::from_secs(30);

async fn source(uri: &str, bound: Duration) -> MongoSource<User> {
    let client = Client::with_uri_str(uri).await.expect("a client");
    MongoSource::builder(&client.database("school").collection::<User>("users")).timeout(bound).build()
}

/// The errors of a load, a listing and of opening the feed, each within the bound.
async fn errors(uri: &str, bound: Duration) -> [Error; 3] {
    // A client for each: after a failure a client looks for the server again, possibly until the bound.
    let loads = source(uri, bound).await;
    let lists = source(uri, bound).await;
    let opens = source(uri, bound).await;
    let (feed, topic) = opens.feed().expect("a feed");
    let began = Instant::now();
    let keys = [key(1_i64)];
    let topics = [topic];
    let (load, list, open) = tokio::join!(loads.load(&keys), lists.list(), feed.open(&topics, Start::Now));
    assert!(began.elapsed() < bound + LONG_BOUND, "{:?}", began.elapsed());
    [load.expect_err("a load"), list.expect_err("a listing"), open.expect_err("a feed")]
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_within_the_bound() {
    let uri = "mongodb://127.0.0.1:1/?directConnection=true";
    for error in errors(uri, BOUND).await {
        assert!(error.is_transient(), "{error:?}");
    }
    let short = format!("{uri}&serverSelectionTimeoutMS=200");
    for error in errors(&short, BOUND).await {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_within_the_bound() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let uri = format!("mongodb://{}/?directConnection=true", listener.local_addr().expect("an address"));
    let silent = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            open.push(socket);
        }
    });
    let [load, list, open] = errors(&uri, BOUND).await;
    assert_eq!(
        (load.kind(), list.kind(), open.kind()),
        (ErrorKind::Timeout, ErrorKind::Timeout, ErrorKind::Unavailable)
    );
    assert!(load.to_string().contains("`school.users`") && load.to_string().contains("within 2s"), "{load}");
    assert!(open.to_string().contains("`school`"), "{open}");
    silent.abort();
}

#[tokio::test]
async fn a_wrong_password_and_none_are_refused_with_the_role_that_is_needed() {
    let server = MongoServer::builder().guarded().start().await;
    let with_password = server.uri().replace("mongodb://", "mongodb://anna:s3cret@");
    for uri in [server.uri(), with_password] {
        for error in errors(&uri, LONG_BOUND).await {
            assert_eq!(error.kind(), ErrorKind::Permission, "{error:?}");
            assert!(error.to_string().contains("role `read`"), "{error}");
            assert!(!format!("{error:?} {}", error.report()).contains("s3cret"), "a password is not shown");
        }
    }
}

#[tokio::test]
async fn a_standalone_server_is_refused_with_the_fix() {
    let server = MongoServer::builder().standalone().start().await;
    let source = source(&server.uri(), LONG_BOUND).await;
    let (feed, topic) = source.feed().expect("a feed");
    let error = feed.open(&[topic], Start::Now).await.expect_err("no change streams");
    assert_eq!(error.kind(), ErrorKind::WrongServer, "{error:?}");
    assert!(error.to_string().contains("--replSet"), "{error}");
    assert!(source.load(&[key(1_i64)]).await.is_ok(), "it can be read");
}

#[tokio::test]
async fn databases_of_one_name_on_two_servers_are_not_taken_for_one() {
    let here = World::shared().await;
    let there = MongoServer::start().await;
    let there = Client::with_uri_str(there.uri()).await.map(|client| (client, there)).expect("a client");
    let other = MongoSource::<User>::new(&there.0.database(here.db.name()).collection::<User>("users"));
    let (feed, own) = here.source().feed().expect("a feed");
    let error = feed.open(&[own, topic(&other)], Start::Now).await.expect_err("two servers");
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    assert!(error.to_string().contains("MongoSourceBuilder::feed"), "{error}");
}

#[tokio::test]
async fn secrets_are_not_shown() {
    let client = Client::with_uri_str("mongodb://anna:s3cret@127.0.0.1:1/").await.expect("a client");
    let builder = MongoSource::<User>::builder(&client.database("school").collection::<User>("users"));
    let shown = format!("{builder:?}");
    let source = builder.build();
    let shown = format!("{shown} {source:?} {:?}", source.feed());
    assert!(shown.contains("school.users") && !shown.contains("s3cret"), "{shown}");
}

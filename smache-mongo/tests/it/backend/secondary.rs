//! A server that is not the primary, or not any more.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use mongodb::{Client, bson::doc};
use smache_core::{Backend, DataSource, Error, ErrorKind, Lane, NewJob, Start};
use smache_mongo::{Mongo, MongoSource};
use smache_testkit::servers::MongoServer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
};

use super::support::{Own, change, compute, direct, fresh, id, look, namespace, stale, url_of};
use crate::world::User;

/// A way to a server on which it says of itself, for as long as is asked, that it is a secondary. The test server is a set
/// of one, which has none.
struct Demoted {
    uri: String,
    demoted: Arc<AtomicBool>,
}

impl Demoted {
    async fn new(uri: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let own = listener.local_addr().expect("an address").to_string();
        let host = uri.trim_start_matches("mongodb://").split('/').next().expect("a host").to_owned();
        let demoted = Arc::new(AtomicBool::new(true));
        let asked = demoted.clone();
        let new = uri.replace(&host, &own);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&host).await.expect("the server listens");
                let ((mut questions, mut answers), (from, mut to)) = (client.into_split(), server.into_split());
                tokio::spawn(async move { tokio::io::copy(&mut questions, &mut to).await });
                let asked = asked.clone();
                tokio::spawn(async move {
                    let mut from = from;
                    while let Some(mut message) = read(&mut from).await {
                        if asked.load(Relaxed) {
                            demote(&mut message);
                        }
                        if answers.write_all(&message).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { uri: new, demoted }
    }
}

/// One message of the wire protocol: its length comes first.
async fn read(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await.ok()?;
    let mut message = length.to_vec();
    message.resize(u32::from_le_bytes(length) as usize, 0);
    from.read_exact(&mut message[4..]).await.ok()?;
    Some(message)
}

/// Turns over what a primary says of its role: fields of one byte after their names.
fn demote(message: &mut [u8]) {
    for (field, value) in [("isWritablePrimary", 0), ("ismaster", 0), ("secondary", 1)] {
        let named: Vec<u8> = [b"\x08", field.as_bytes(), b"\0"].concat();
        if let Some(at) = message.windows(named.len()).position(|bytes| bytes == named) {
            message[at + named.len()] = value;
        }
    }
}

fn assert_not_primary(error: &Error) {
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unavailable, true), "{}", error.report());
    assert!(error.message().contains("connect to the set, not to one member"), "{error}");
}

#[tokio::test]
async fn secondary_is_refused_with_the_fix_until_it_is_the_primary() {
    let own = Own::new().await;
    let store = own.mongo.store(&namespace("shop")).expect("a store");
    compute(&*store, id(1), "one", &[]).await;
    let way = Demoted::new(&own.url).await;
    assert_not_primary(&Mongo::connect(&way.uri).await.expect_err("a secondary"));
    let client = Client::with_uri_str(&way.uri).await.expect("a client");
    let source = MongoSource::<User>::new(&client.database(own.database.name()).collection::<User>("users"));
    let (feed, topic) = source.feed().expect("a feed");
    assert_not_primary(&feed.open(std::slice::from_ref(&topic), Start::Now).await.expect_err("a secondary"));
    way.demoted.store(false, Relaxed);
    let store = Mongo::connect(&way.uri).await.expect("the primary").store(&namespace("shop")).expect("a store");
    assert_eq!(look(&*store, id(1)).await, fresh("one"));
    feed.open(&[topic], Start::Now).await.expect("the primary");
}

#[tokio::test]
async fn primary_that_steps_down_is_unavailable_and_nothing_is_lost_when_there_is_one_again() {
    let server = MongoServer::builder().argument("--enable-test-commands").start().await;
    // A server that steps down says so by itself; this one is only asked now and then.
    let url = format!("{}&heartbeatFrequencyMS=500", url_of(&server.uri(), "shop"));
    let mongo = Mongo::connect(url).await.expect("connect");
    let (store, queue) = mongo.both(&namespace("shop")).expect("both");
    compute(&*store, id(1), "one", &[direct("a")]).await;
    let admin = Client::with_uri_str(server.uri()).await.expect("a client").database("admin");
    let fail = async |mode: &str| {
        // `NotWritablePrimary`, as a primary answers that has just stepped down.
        let what = doc! { "failCommands": ["insert", "update", "findAndModify", "delete"], "errorCode": 10107 };
        let command = doc! { "configureFailPoint": "failCommand", "mode": mode, "data": what };
        admin.run_command(command).await.expect("a failpoint");
    };
    fail("alwaysOn").await;
    let refused = [
        store.invalidate(change("a")).await.expect_err("a write"),
        store.new_epoch().await.expect_err("a write"),
        queue.enqueue(&[NewJob::now(id(2), Lane::Recompute)]).await.expect_err("a write"),
    ];
    for error in refused {
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unavailable, true), "{}", error.report());
    }
    assert_eq!(look(&*store, id(1)).await, fresh("one"));
    fail("off").await;
    assert_eq!(store.invalidate(change("a")).await.expect("a primary again").marked, 1);
    assert_eq!(look(&*store, id(1)).await, stale("one"));
}

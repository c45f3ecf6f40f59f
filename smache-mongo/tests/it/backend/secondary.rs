//! A server that is not the primary, or not any more.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use mongodb::{
    Client,
    bson::{Document, doc},
};
use smache_core::{Backend, DataSource, Error, ErrorKind, Lane, NewJob, Start};
use smache_mongo::{Mongo, MongoSource};
use smache_testkit::servers::MongoServer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
};

use super::support::{Own, change, compute, direct, fresh, id, look, namespace, stale, url_of};
use crate::world::User;

/// A proxy to a server that changes the server's answers about itself while the test wants it. The test server is a set
/// of one, which has no secondaries.
struct Way {
    uri: String,
    other: Arc<AtomicBool>,
}

impl Way {
    async fn new(uri: &str, change: fn(&mut Vec<u8>)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let own = listener.local_addr().expect("an address").to_string();
        let host = uri.trim_start_matches("mongodb://").split('/').next().expect("a host").to_owned();
        let other = Arc::new(AtomicBool::new(true));
        let asked = other.clone();
        let new = uri.replace(&host, &own);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&host).await.expect("the server listens");
                let (mut questions, mut answers) = client.into_split();
                let (from, mut to) = server.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut questions, &mut to).await });
                let asked = asked.clone();
                tokio::spawn(async move {
                    let mut from = from;
                    while let Some(mut message) = read(&mut from).await {
                        if asked.load(Relaxed) {
                            change(&mut message);
                        }
                        if answers.write_all(&message).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { uri: new, other }
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

/// Inverts a primary's statements about its role: fields of one byte after their names.
#[expect(clippy::ptr_arg, reason = "others make it longer")]
fn demote(message: &mut Vec<u8>) {
    for (field, value) in [("isWritablePrimary", 0), ("ismaster", 0), ("secondary", 1)] {
        let named: Vec<u8> = [b"\x08", field.as_bytes(), b"\0"].concat();
        if let Some(at) = message.windows(named.len()).position(|bytes| bytes == named) {
            message[at + named.len()] = value;
        }
    }
}

/// Where the document of a message begins: behind its head, flags and the kind of its section.
const DOCUMENT: usize = 21;

/// Adds a member to the server's answer about its set.
fn add_member(message: &mut Vec<u8>) {
    let Some(mut said) = message.get(DOCUMENT..).and_then(|said| Document::from_reader(said).ok()) else { return };
    let Ok(hosts) = said.get_array_mut("hosts") else { return };
    hosts.push("127.0.0.1:1".into());
    message.truncate(DOCUMENT);
    said.to_writer(&mut *message).expect("a document");
    let length = u32::try_from(message.len()).expect("a short message");
    message[..4].copy_from_slice(&length.to_le_bytes());
}

#[tokio::test]
async fn direct_connection_to_one_of_several_members_is_refused_with_the_fix() {
    let own = Own::new().await;
    assert!(own.url.contains("directConnection=true"));
    let way = Way::new(&own.url, add_member).await;
    let error = Mongo::connect(&way.uri).await.expect_err("one of two");
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.report());
    assert!(error.message().contains("`replicaSet=") && error.message().contains("`directConnection"), "{error}");
    way.other.store(false, Relaxed);
    Mongo::connect(&way.uri).await.expect("a set of one");
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
    let way = Way::new(&own.url, demote).await;
    assert_not_primary(&Mongo::connect(&way.uri).await.expect_err("a secondary"));
    let client = Client::with_uri_str(&way.uri).await.expect("a client");
    let source = MongoSource::<User>::new(&client.database(own.database.name()).collection::<User>("users"));
    let (feed, topic) = source.feed().expect("a feed");
    assert_not_primary(&feed.open(std::slice::from_ref(&topic), Start::Now).await.expect_err("a secondary"));
    way.other.store(false, Relaxed);
    let store = Mongo::connect(&way.uri).await.expect("the primary").store(&namespace("shop")).expect("a store");
    assert_eq!(look(&*store, id(1)).await, fresh("one"));
    feed.open(&[topic], Start::Now).await.expect("the primary");
}

#[tokio::test]
async fn primary_that_steps_down_is_unavailable_and_nothing_is_lost_when_there_is_one_again() {
    let server = MongoServer::builder().test_commands().start().await;
    // A server that steps down announces it; of this one the driver learns only when it asks.
    let url = format!("{}&heartbeatFrequencyMS=500", url_of(&server.uri(), "shop"));
    let mongo = Mongo::connect(url).await.expect("connect");
    let (store, queue) = mongo.both(&namespace("shop")).expect("both");
    compute(&*store, id(1), "one", &[direct("a")]).await;
    let admin = Client::with_uri_str(server.uri()).await.expect("a client").database("admin");
    let fail = async |mode: &str| {
        // `NotWritablePrimary`, the answer of a primary that has just stepped down.
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

//! The instant as of which the feed is complete.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mongodb::bson::doc;
use smache_core::EntityKey;
use smache_testkit::servers::shared_mongo_uri;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::world::{PATIENCE, User, World, key};

#[tokio::test]
async fn an_idle_feed_confirms_again_and_again() {
    let world = World::shared().await;
    let mut tail = world.tail().await;
    tail.all().await;
    for _ in 0..3 {
        let began = Instant::now();
        let last = tail.last.expect("confirmed");
        tail.all().await;
        assert!(tail.last.expect("confirmed") > last);
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn an_empty_batch_comes_soon() {
    let world = World::shared().await;
    let mut tail = world.tail().await;
    for _ in 0..4 {
        let began = Instant::now();
        assert!(tail.next().await.changes.is_empty());
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    }
}

/// Writes until it is stopped, and notes when the server acknowledged each write of a user.
struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<HashMap<EntityKey, Instant>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Writers {
    fn start(world: &World) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(Mutex::new(HashMap::new()));
        let users = world.users.clone();
        let stopped = Arc::clone(&stop);
        let notes = Arc::clone(&acknowledged);
        let watched = tokio::spawn(async move {
            for id in 0_i64.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                users.insert_one(User { id, name: "x".to_owned() }).await.expect("an insert");
                notes.lock().expect("a lock").insert(key(id), Instant::now());
            }
        });
        // Long stretches of history of a collection that the feed does not watch.
        let others = world.documents("others");
        let stopped = Arc::clone(&stop);
        let unwatched = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let documents = (0..300).map(|number| doc! { "number": number });
                others.insert_many(documents).await.expect("inserts");
                // The feed and the server need some of the machine too.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self { stop, acknowledged, tasks: vec![watched, unwatched] }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a writer");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_the_feed_confirms_and_never_for_a_change_that_it_has_not_told() {
    let world = World::shared().await;
    let mut tail = world.tail().await;
    let writers = Writers::start(&world);
    let began = Instant::now();
    let mut told = std::collections::HashSet::new();
    let mut confirmed = 0;
    let mut last = None;
    while confirmed < 10 {
        assert!(began.elapsed() < 2 * PATIENCE, "the feed confirmed {confirmed} times only");
        let batch = tail.next().await;
        told.extend(batch.changes.into_iter().map(|change| change.key));
        let Some(as_of) = batch.as_of else { continue };
        assert!(Some(as_of) >= last, "it takes nothing back");
        confirmed += usize::from(Some(as_of) > last);
        last = Some(as_of);
        for (key, at) in writers.acknowledged.lock().expect("a lock").iter() {
            assert!(*at >= as_of || told.contains(key), "{key} was written before {as_of:?} and is not told");
        }
    }
    assert!(last.is_some_and(|last| last > began), "it keeps up");
    writers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_that_catches_up_confirms_only_when_it_has() {
    const BEHIND: i64 = 1_500;
    let world = World::shared().await;
    let position = world.tail().await.position();
    for _ in 0..5 {
        let documents = (0..300).map(|number| doc! { "number": number });
        world.documents("others").insert_many(documents).await.expect("inserts");
    }
    let users = (0..BEHIND).map(|id| User { id, name: "x".to_owned() });
    world.users.insert_many(users).await.expect("inserts");
    let written = Instant::now();

    let mut tail = world.tail_after(position).await;
    let mut told = 0;
    while told < BEHIND {
        let batch = tail.next().await;
        told += i64::try_from(batch.changes.len()).expect("small");
        assert!(
            batch.as_of.is_none_or(|as_of| as_of < written || told == BEHIND),
            "confirmed after {told} of {BEHIND}"
        );
    }
    assert!(tail.all().await.is_empty());
}

/// A proxy to the server that delays every answer.
async fn detour(uri: &str, delay: Duration) -> String {
    let (scheme, rest) = uri.split_once("://").expect("a URI");
    let (server, options) = rest.split_once('/').expect("a URI of one server");
    let (_, address) = server.rsplit_once('@').unwrap_or(("", server));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let own = listener.local_addr().expect("an address").to_string();
    let uri = format!("{scheme}://{}/{options}", server.replace(address, &own));
    let address = address.split(',').next().expect("an address").to_owned();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&address).await.expect("the server");
            let (mut asking, mut told) = client.into_split();
            let (mut answering, mut asked) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut asking, &mut asked).await });
            tokio::spawn(async move {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(many @ 1..) = answering.read(&mut bytes).await {
                    tokio::time::sleep(delay).await;
                    if told.write_all(&bytes[..many]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    uri
}

#[tokio::test]
async fn a_server_that_takes_long_to_tell_its_time_is_waited_for() {
    let world = World::at(&detour(&shared_mongo_uri(), Duration::from_millis(700)).await).await;
    let mut tail = world.tail().await;
    let began = Instant::now();
    while tail.next().await.as_of.is_none() {
        assert!(began.elapsed() < PATIENCE, "the feed never confirms");
    }
    world.db.drop().await.expect("the database is dropped");
}

//! The notifications that wake the feed of PostgreSQL, and the polls that do when one is lost.

use std::time::Duration;

use smache_testkit::servers::PostgresServer;
use sqlx::{PgPool, postgres::PgListener};
use tokio::time::{Instant, timeout};

use crate::{
    proxy::Proxy,
    world::{Tail, World},
};

/// The channel of the triggers.
const CHANNEL: &str = "smache_changes";

/// How often the feed looks without a notification.
const INTERVAL: Duration = Duration::from_millis(500);

/// When the test gives up an expected change.
const GIVEN_UP: Duration = Duration::from_secs(20);

/// A separate server, since a channel is of a whole database.
async fn world() -> (PostgresServer, World) {
    let server = PostgresServer::start().await;
    let world = World::postgres_at(&server.url()).await;
    world.source().install().await.expect("install");
    (server, world)
}

fn case(case: impl AsyncFnOnce(PostgresServer, World)) {
    smache_testkit::run(async {
        let (server, world) = world().await;
        case(server, world).await;
    });
}

/// The notifications up to now, by one that ends them.
async fn heard(listener: &mut PgListener, world: &World) -> Vec<String> {
    world.run(&format!("NOTIFY {CHANNEL}, 'the end'")).await;
    let mut heard = Vec::new();
    loop {
        let notification = timeout(GIVEN_UP, listener.recv()).await.expect("the end comes").expect("a notification");
        match notification.payload() {
            "the end" => return heard,
            other => heard.push(other.to_owned()),
        }
    }
}

async fn listen(url: &str) -> PgListener {
    let mut listener = PgListener::connect(url).await.expect("a connection");
    listener.listen(CHANNEL).await.expect("listen");
    listener
}

#[test]
fn a_transaction_sends_one_notification_however_much_it_changes() {
    case(async |server, world| {
        let mut listener = listen(&server.url()).await;
        world.run("INSERT INTO <people> SELECT number, 'Anna' FROM generate_series(1, 1000) AS number").await;
        assert_eq!(heard(&mut listener, &world).await, [""], "one statement");
        let updates: Vec<String> =
            (1..=1_000).map(|id| format!("UPDATE <people> SET name = 'Anne' WHERE id = {id};")).collect();
        world.run(&format!("BEGIN; {} COMMIT", updates.concat())).await;
        assert_eq!(heard(&mut listener, &world).await, [""], "a thousand statements");
        for id in 1..=3 {
            world.run(&format!("DELETE FROM <people> WHERE id = {id}")).await;
        }
        assert_eq!(heard(&mut listener, &world).await, ["", "", ""], "one each");
        let mut tail = world.source().tail().await;
        world.run("TRUNCATE <people>").await;
        assert_eq!(heard(&mut listener, &world).await, [""], "a truncation");
        assert_eq!(tail.told().await, ["people reset"]);
    });
}

#[test]
fn without_a_change_there_is_no_notification() {
    case(async |server, world| {
        world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
        let mut tail = world.source().tail().await;
        let mut listener = listen(&server.url()).await;
        world.run("UPDATE <people> SET name = 'Anne' WHERE id = 2").await;
        world.run("BEGIN; UPDATE <people> SET name = 'Anne'; ROLLBACK").await;
        world.run("SELECT * FROM <people>").await;
        // Neither does a feed that looks, nor one that is opened, nor an installation that finds everything in place.
        assert!(tail.told().await.is_empty());
        assert!(world.source().tail().await.told().await.is_empty());
        world.source().install().await.expect("install");
        assert_eq!(heard(&mut listener, &world).await, Vec::<String>::new());
    });
}

/// Waits until a feed listens: on a slow machine it goes without at first, and tries again later.
async fn until_it_listens(tail: &mut Tail, world: &World) {
    let listening = format!(
        "SELECT count(*)::text FROM pg_stat_activity
         WHERE query ILIKE 'LISTEN%{CHANNEL}%' AND state = 'idle' AND pid <> pg_backend_pid()"
    );
    let began = Instant::now();
    while world.ask(&listening).await != ["1"] {
        assert!(began.elapsed() < GIVEN_UP, "it does not listen");
        tail.told().await;
    }
}

async fn until_a_change(tail: &mut Tail) {
    while tail.next().await.changes.is_empty() {}
}

/// For how long a feed that waits does not know of a change that was acknowledged.
async fn waited(tail: &mut Tail, world: &World, id: usize) -> Duration {
    let mut change = Box::pin(until_a_change(tail));
    // It looks at once, and then it waits until a notification comes or the next look is due.
    assert!(timeout(INTERVAL / 4, &mut change).await.is_err(), "nothing has changed");
    world.run(&format!("INSERT INTO <people> (id, name) VALUES ({id}, 'Anna')")).await;
    let acknowledged = Instant::now();
    timeout(GIVEN_UP, change).await.expect("the change comes");
    acknowledged.elapsed()
}

#[test]
fn a_notification_wakes_the_feed_long_before_it_would_look() {
    case(async |_server, world| {
        let mut tail = world.source().tail().await;
        tail.told().await;
        until_it_listens(&mut tail, &world).await;
        let mut waits = Vec::new();
        for id in 0..15 {
            waits.push(waited(&mut tail, &world, id).await);
        }
        waits.sort_unstable();
        assert!(waits[7] < INTERVAL / 3, "{waits:?}");
    });
}

#[test]
fn changes_whose_notifications_are_swallowed_come_by_looking() {
    case(async |server, world| {
        let World::Postgres { schema, .. } = &world else { return };
        let proxy = Proxy::start(&server.url(), true).await;
        let pool = PgPool::connect(&proxy.url).await.expect("a connection");
        let deaf = World::Postgres { pool, schema: schema.clone() };
        let mut hears = listen(&server.url()).await;
        let mut does_not = listen(&proxy.url).await;
        let mut tail = deaf.source().tail().await;
        tail.told().await;
        for id in 0..3 {
            let waited = waited(&mut tail, &world, id).await;
            assert!(waited < GIVEN_UP / 2, "{waited:?}");
        }
        assert_eq!(heard(&mut hears, &world).await.len(), 3);
        let silence = timeout(Duration::from_millis(50), does_not.recv()).await;
        assert!(silence.is_err(), "nothing comes through the proxy: {silence:?}");
    });
}

#[test]
fn a_connection_for_notifications_that_is_cut_costs_no_change() {
    case(async |_server, world| {
        let mut tail = world.source().tail().await;
        tail.told().await;
        waited(&mut tail, &world, 1).await;
        until_it_listens(&mut tail, &world).await;
        let cut = world
            .ask(&format!(
                "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity
                 WHERE query ILIKE 'LISTEN%{CHANNEL}%' AND pid <> pg_backend_pid()"
            ))
            .await;
        assert_eq!(cut, ["true"]);
        for id in 2..5 {
            waited(&mut tail, &world, id).await;
        }
    });
}

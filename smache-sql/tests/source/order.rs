//! Transactions of PostgreSQL that commit in another order than they wrote in.

use std::{process::Command, time::Duration};

use smache_core::{ErrorKind, Start};
use smache_testkit::servers::PostgresServer;
use sqlx::{AssertSqlSafe, PgPool};

use crate::world::{Person, World};

async fn insert(connection: &mut sqlx::PgConnection, world: &World, id: i64) {
    let sql = format!("INSERT INTO {} (id, name) VALUES ({id}, 'x')", world.table("people"));
    sqlx::query(AssertSqlSafe(sql)).execute(connection).await.expect("an insert");
}

fn pool(world: &World) -> &PgPool {
    match world {
        World::Postgres { pool, .. } => pool,
        World::Sqlite { .. } => panic!("this case is for PostgreSQL"),
    }
}

fn case(case: impl AsyncFnOnce(World)) {
    smache_testkit::run(async { case(World::postgres().await).await });
}

#[test]
fn a_transaction_that_wrote_first_and_commits_last_is_delivered() {
    case(async |world| {
        let mut tail = world.tail().await;
        let mut first = pool(&world).begin().await.expect("a transaction");
        insert(&mut first, &world, 1).await;
        world.run("INSERT INTO <people> (id, name) VALUES (2, 'x')").await;
        assert_eq!(tail.told().await, ["2 inserted -→x"]);
        let between = tail.stream.position();
        world.run("INSERT INTO <people> (id, name) VALUES (3, 'x')").await;
        assert_eq!(tail.told().await, ["3 inserted -→x"]);
        assert!(tail.told().await.is_empty(), "the tail delivers nothing twice");
        first.commit().await.expect("a commit");
        assert_eq!(tail.told().await, ["1 inserted -→x"]);
        let mut again = world.source().open(Start::After(between)).await.expect("open");
        assert_eq!(again.told().await, ["1 inserted -→x", "3 inserted -→x"]);
    });
}

#[test]
fn positions_grow_whatever_the_order_of_commits() {
    case(async |world| {
        let mut tail = world.tail().await;
        let mut orders = vec![tail.stream.position().order];
        let mut open = Vec::new();
        for id in 0..4 {
            let mut transaction = pool(&world).begin().await.expect("a transaction");
            insert(&mut transaction, &world, id).await;
            open.push(transaction);
        }
        // The oldest, the youngest, and those between.
        for (place, id) in [(0, 0), (2, 3), (0, 1), (0, 2)] {
            open.remove(place).commit().await.expect("a commit");
            assert_eq!(tail.told().await, [format!("{id} inserted -→x")]);
            orders.push(tail.stream.position().order);
        }
        assert!(orders.is_sorted_by(|one, two| one < two), "{orders:?}");
    });
}

#[test]
fn a_savepoint_is_delivered_with_its_transaction() {
    case(async |world| {
        let mut tail = world.tail().await;
        let mut transaction = pool(&world).begin().await.expect("a transaction");
        insert(&mut transaction, &world, 1).await;
        sqlx::raw_sql("SAVEPOINT s").execute(&mut *transaction).await.expect("a savepoint");
        insert(&mut transaction, &world, 2).await;
        assert!(tail.told().await.is_empty());
        transaction.commit().await.expect("a commit");
        assert_eq!(tail.told().await, ["1 inserted -→x", "2 inserted -→x"]);
    });
}

#[test]
fn what_was_changed_before_the_triggers_were_made_is_covered_by_a_reset() {
    case(async |world| {
        let mut writer = pool(&world).begin().await.expect("a transaction");
        insert(&mut writer, &world, 1).await;
        let source = world.source();
        let installing = tokio::spawn(async move {
            source.install().await.expect("install");
            source
        });
        // It waits for the writer, whose change it would otherwise never record.
        let waiting = "SELECT count(*)::text FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
                       JOIN pg_namespace n ON n.oid = c.relnamespace
                       WHERE NOT l.granted AND n.nspname = split_part('<people>', '\"', 2)";
        while world.ask(waiting).await != ["1"] {
            tokio::task::yield_now().await;
        }
        assert!(!installing.is_finished());
        writer.commit().await.expect("a commit");
        let source = installing.await.expect("it ends");
        assert_eq!(source.list().await.len(), 1);
    });
}

#[test]
fn a_crash_takes_back_nothing_that_was_told() {
    smache_testkit::run(async {
        // Nothing but a commit that asks for it gets into the log soon.
        let lazy = [("wal_writer_delay", "10s"), ("synchronous_commit", "off"), ("autovacuum", "off")];
        let lazy = lazy.into_iter().fold(PostgresServer::builder(), |server, (name, value)| server.config(name, value));
        let server = lazy.start().await;
        let world = World::postgres_at(&server.url()).await;
        let mut tail = world.tail().await;
        world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
        assert_eq!(tail.told().await, ["1 inserted -→Anna"]);
        let position = tail.stream.position();
        drop(tail);
        // It would write the log by itself some time.
        let writer = "SELECT pid::text FROM pg_stat_activity WHERE backend_type = 'walwriter'";
        let writer = world.ask(writer).await.remove(0);
        let stopped = Command::new("sh").arg("-c").arg(format!("kill -STOP {writer}")).status();
        assert!(stopped.expect("sh sends a signal").success());
        world.run("INSERT INTO <people> (id, name) VALUES (2, 'Bea')").await;
        assert_eq!(world.source().list().await.len(), 2, "a run reads what the tail has not delivered");
        // The crash loses all that is not in the log by then.
        server.kill().await;
        server.restart().await;
        let people = loop {
            // A connection of the pool from before is found dead first.
            match world.source().plain().list().await {
                Ok(people) => break people.len(),
                Err(error) => assert!(error.is_transient(), "{}", error.report()),
            }
        };
        assert_eq!(people, 1, "delivered rows are there, and only undelivered ones are lost");
        // The server gives the lost transaction's number again.
        world.run("INSERT INTO <people> (id, name) VALUES (3, 'Cleo')").await;
        let error = loop {
            match world.source().open(Start::After(position.clone())).await {
                Ok(_) => panic!("a run has read what the server has taken back"),
                Err(error) if error.is_transient() => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::HistoryLost, "{}", error.report());
        let mut tail = world.tail().await;
        world.run("INSERT INTO <people> (id, name) VALUES (4, 'Dora')").await;
        assert_eq!(tail.told().await, ["4 inserted -→Dora"]);
    });
}

#[test]
fn a_long_transaction_holds_back_trimming_and_no_reader_loses_anything() {
    case(async |world| {
        let source = world.built::<Person>(
            "people",
            |builder| builder.retention(Duration::from_millis(1)),
            |builder| builder.retention(Duration::from_millis(1)),
        );
        source.install().await.expect("install");
        let mut tail = source.tail().await;
        let mut long = pool(&world).begin().await.expect("a transaction");
        insert(&mut long, &world, 1).await;
        for id in 2..6 {
            world.run(&format!("INSERT INTO <people> (id, name) VALUES ({id}, 'x')")).await;
            assert_eq!(tail.told().await, [format!("{id} inserted -→x")]);
            // It trims when there is nothing else to do.
            assert!(tail.told().await.is_empty());
        }
        long.commit().await.expect("a commit");
        assert_eq!(tail.told().await, ["1 inserted -→x"]);
        let rows = format!("SELECT source FROM {}", world.table("smache_changes"));
        while !world.ask(&rows).await.is_empty() {
            assert!(tail.told().await.is_empty());
        }
    });
}

#[test]
fn an_idle_feed_writes_nothing() {
    smache_testkit::run(async {
        let server = PostgresServer::builder().config("autovacuum", "off").start().await;
        let world = World::postgres_at(&server.url()).await;
        let mut tail = world.tail().await;
        world.run("INSERT INTO <people> (id, name) VALUES (1, 'x')").await;
        assert_eq!(tail.told().await, ["1 inserted -→x"]);
        tail.next().await;
        let position = tail.stream.position();
        let next = "SELECT pg_current_snapshot()::text";
        let before = world.ask(next).await;
        for _ in 0..3 {
            tail.next().await;
        }
        assert_eq!((tail.stream.position(), world.ask(next).await), (position, before));
    });
}

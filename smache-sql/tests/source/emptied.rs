//! Changes that another program removes, and writers that must not be disturbed.

use smache_core::{ErrorKind, Start};
use smache_testkit::servers::PostgresServer;

use crate::world::{World, key, on_both};

on_both!(
    a_change_table_that_was_emptied_is_another_history,
    a_change_table_that_lost_some_of_its_rows_is_another_history,
    a_change_table_without_its_guard_is_no_history,
);

/// Opens after a position that must be lost, and then at the present.
async fn lost(world: &World, position: smache_core::Position) {
    let error = world.source().open(Start::After(position)).await.err().expect("changes are missing");
    assert_eq!(error.kind(), ErrorKind::HistoryLost, "{}", error.report());
    let mut tail = world.tail().await;
    assert!(tail.told().await.is_empty());
    world.run("INSERT INTO <people> (id, name) VALUES (99, 'Zoe')").await;
    assert_eq!(tail.told().await, ["99 inserted -→Zoe"]);
    let position = tail.stream.position();
    world.run("DELETE FROM <people> WHERE id = 99").await;
    let mut again = world.source().open(Start::After(position)).await.expect("what is kept goes on");
    assert_eq!(again.told().await, ["99 deleted Zoe→-"]);
}

async fn a_change_table_that_was_emptied_is_another_history(world: World) {
    let changes = world.table("smache_changes");
    let all = [format!("DELETE FROM {changes}"), format!("TRUNCATE {changes}")];
    for empty in &all[..if world.is_postgres() { 2 } else { 1 }] {
        let position = world.tail().await.stream.position();
        world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
        world.run(empty).await;
        lost(&world, position).await;
        world.run("DELETE FROM <people>").await;
        // A stream that is open notices as well.
        let mut tail = world.tail().await;
        world.run(&format!("INSERT INTO <people> (id, name) VALUES (2, 'Bea'); {empty}")).await;
        let error = loop {
            match tail.stream.next().await {
                // It may have read what was written before it was taken away.
                Ok(batch) if batch.changes.is_empty() => {}
                Ok(_) => break None,
                Err(error) => break Some(error),
            }
        };
        assert!(error.is_none_or(|error| error.kind() == ErrorKind::HistoryLost));
        world.run("DELETE FROM <people>").await;
    }
}

async fn a_change_table_that_lost_some_of_its_rows_is_another_history(world: World) {
    let changes = world.table("smache_changes");
    for gone in ["ORDER BY seq DESC LIMIT 1", "ORDER BY seq DESC LIMIT 1 OFFSET 1"] {
        let position = world.tail().await.stream.position();
        for id in 1..=3 {
            world.run(&format!("INSERT INTO <people> (id, name) VALUES ({id}, 'Anna')")).await;
        }
        world.run(&format!("DELETE FROM {changes} WHERE seq IN (SELECT seq FROM {changes} {gone})")).await;
        lost(&world, position).await;
        world.run("DELETE FROM <people>").await;
    }
}

async fn a_change_table_without_its_guard_is_no_history(world: World) {
    let position = world.tail().await.stream.position();
    let changes = world.table("smache_changes");
    let (off, on) = if world.is_postgres() {
        (
            format!("ALTER TABLE {changes} DISABLE TRIGGER smache_removed"),
            format!("ALTER TABLE {changes} ENABLE ALWAYS TRIGGER smache_removed"),
        )
    } else {
        ("DROP TRIGGER smache_guard".to_owned(), include_str!("../../src/source/queries/sqlite_guard.sql").to_owned())
    };
    world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
    world.run(&off).await;
    let error = world.source().open(Start::Now).await.err().expect("the loss would go unnoticed");
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.report());
    assert!(error.message().contains("`install`"), "{error}");
    world.run(&format!("DELETE FROM {changes}")).await;
    world.run(&on).await;
    let error = world.source().open(Start::After(position)).await.err().expect("it was gone for a while");
    assert_eq!(error.kind(), ErrorKind::HistoryLost, "{}", error.report());
    world.run(&off).await;
    world.source().install().await.expect("install");
    assert!(world.source().open(Start::Now).await.is_ok());
}

#[test]
fn a_server_that_is_stopped_in_order_goes_on_with_its_history() {
    smache_testkit::run(async {
        let server = PostgresServer::start().await;
        let world = World::postgres_at(&server.url()).await;
        let position = world.tail().await.stream.position();
        server.stop().await;
        server.restart().await;
        let mut tail = loop {
            match world.source().open(Start::After(position.clone())).await {
                Ok(tail) => break tail,
                // A connection of the pool from before is found dead first.
                Err(error) => assert!(error.is_transient(), "{}", error.report()),
            }
        };
        assert!(tail.told().await.is_empty());
    });
}

#[test]
fn writers_of_a_watched_table_may_prepare_transactions_and_write_any_json() {
    smache_testkit::run(async {
        let server = PostgresServer::builder().config("max_prepared_transactions", "4").start().await;
        let world = World::postgres_at(&server.url()).await;
        world.run("ALTER TABLE <people> ADD COLUMN data json").await;
        let mut tail = world.tail().await;
        let zero = "INSERT INTO <people> (id, name, data) VALUES (1, 'Anna', '{\"a\": \"\\u0000\"}')";
        world.run(&format!("BEGIN; {zero}; PREPARE TRANSACTION 'one'")).await;
        world.run("COMMIT PREPARED 'one'").await;
        assert_eq!(tail.told().await, ["1 inserted -→Anna"]);
        assert_eq!(world.source().list().await.len(), 1);
        assert!(world.source().plain().load(&[key(1)]).await.expect("load")[0].is_some());
    });
}

#[test]
fn names_in_braces_are_names() {
    smache_testkit::run(async {
        let World::Postgres { pool, schema } = World::postgres().await else { return };
        let schema = format!("{schema}{{triggers}}{{body}}");
        let world = World::Postgres { pool, schema: schema.clone() };
        world
            .run(&format!(
                "CREATE SCHEMA \"{schema}\"; CREATE TABLE <people> (id bigint PRIMARY KEY, name text, note text)"
            ))
            .await;
        let mut tail = world.tail().await;
        world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
        assert_eq!(tail.told().await, ["1 inserted -→Anna"]);
        world.source().uninstall().await.expect("uninstall");
    });
}

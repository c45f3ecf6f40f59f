//! Going on after a position, and positions that are lost.

use std::time::Duration;

use smache_core::{ErrorKind, Start};

use crate::world::{World, on_both};

on_both!(
    a_position_that_was_trimmed_is_lost,
    a_position_of_another_database_is_lost,
    changes_without_a_reader_are_delivered_later,
);

async fn a_position_that_was_trimmed_is_lost(world: World) {
    let source = world.built::<crate::world::Person>(
        "people",
        |builder| builder.retention(Duration::from_millis(1)),
        |builder| builder.retention(Duration::from_millis(1)),
    );
    source.install().await.expect("install");
    let start = source.tail().await.stream.position();
    world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
    let mut tail = source.tail().await;
    let rows = format!("SELECT source FROM {}", world.table("smache_changes"));
    // Other cases are running transactions on the same server, and only what all have seen is removed.
    while !world.ask(&rows).await.is_empty() {
        assert!(tail.told().await.is_empty(), "it was there before");
    }
    let error = match source.open(Start::After(start)).await {
        Ok(_) => panic!("a row after the position is gone"),
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::HistoryLost);
    assert!(error.to_string().contains("retention"), "{error}");

    // A feed that keeps up loses nothing, and neither does a position behind all that was trimmed.
    let position = tail.stream.position();
    let patient = world.source();
    let mut again = patient.open(Start::After(position)).await.expect("open");
    world.run("INSERT INTO <people> (id, name) VALUES (2, 'Bea')").await;
    assert_eq!(again.told().await, ["2 inserted -→Bea"]);
    assert_eq!(tail.told().await, ["2 inserted -→Bea"]);
}

async fn a_position_of_another_database_is_lost(world: World) {
    let other = if world.is_postgres() { World::postgres().await } else { World::sqlite().await };
    let position = other.tail().await.stream.position();
    world.source().install().await.expect("install");
    let error = world.source().open(Start::After(position.clone())).await.err().expect("another history");
    assert_eq!(error.kind(), ErrorKind::HistoryLost);
    let nonsense = smache_core::Position { order: position.order, token: "nonsense".into() };
    let error = world.source().open(Start::After(nonsense)).await.err().expect("no position");
    assert_eq!(error.kind(), ErrorKind::HistoryLost);
}

async fn changes_without_a_reader_are_delivered_later(world: World) {
    let position = world.tail().await.stream.position();
    world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
    world.run("UPDATE <people> SET name = 'Anne'").await;
    let mut tail = world.source().open(Start::After(position.clone())).await.expect("open");
    assert_eq!(tail.told().await, ["1 inserted -→Anna", "1 updated Anna→Anne [name]"]);
    assert!(tail.stream.position().order > position.order);
    let head = world.source().feed().0.head().await.expect("head").expect("it tells");
    tail.told().await;
    assert!(tail.stream.position().order >= head.order);
}

#[test]
fn an_older_copy_of_a_file_has_lost_the_history() {
    smache_testkit::run(async {
        let world = World::sqlite().await;
        let World::Sqlite { folder, .. } = &world else { return };
        let mut tail = world.tail().await;
        world.run("INSERT INTO people (id, name) VALUES (1, 'Anna')").await;
        let copy = folder.path().join("copy.db");
        world.run(&format!("VACUUM INTO '{}'", copy.display())).await;
        world.run("INSERT INTO people (id, name) VALUES (2, 'Bea')").await;
        tail.all().await;
        let position = tail.stream.position();
        let pool = sqlx::SqlitePool::connect(copy.to_str().expect("a plain path")).await.expect("the copy");
        let restored = World::Sqlite { pool, folder: folder.clone() };
        let error = restored.source().open(Start::After(position.clone())).await.err().expect("row 2 is not there");
        assert_eq!(error.kind(), ErrorKind::HistoryLost);
        // Another row of the same number is another row.
        restored.run("INSERT INTO people (id, name) VALUES (3, 'Cleo')").await;
        let error = restored.source().open(Start::After(position)).await.err().expect("another row 2");
        assert_eq!(error.kind(), ErrorKind::HistoryLost);
    });
}

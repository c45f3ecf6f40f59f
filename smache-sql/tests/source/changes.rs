//! The changes that the feed delivers, of each kind.

use serde::Deserialize;
use smache_core::{ChangeKind, EntityType, Start};

use crate::world::{Tail, World, counted, key, on_both, told};

on_both!(
    every_kind_of_write_is_delivered,
    what_is_rolled_back_is_not_delivered,
    another_key_is_another_entity,
    any_value_is_delivered,
    an_update_of_nothing_is_no_change,
    every_write_of_many_writers_is_delivered_once,
    a_large_transaction_is_delivered_in_batches_and_resumed_in_the_middle,
    rows_that_are_not_entities_do_not_stop_the_feed,
    one_stream_serves_several_tables_and_types,
);

async fn every_kind_of_write_is_delivered(world: World) {
    let mut tail = world.tail().await;
    world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna'), (2, 'Bea')").await;
    world.run("UPDATE <people> SET name = 'Anne', note = 'x' WHERE id = 1").await;
    world.run("UPDATE <people> SET note = NULL WHERE note IS NOT NULL").await;
    world
        .run("INSERT INTO <people> (id, name) VALUES (2, 'Ben') ON CONFLICT (id) DO UPDATE SET name = excluded.name")
        .await;
    world.run("INSERT INTO <people> (id, name) VALUES (2, 'Bob') ON CONFLICT (id) DO NOTHING").await;
    world.run("DELETE FROM <people>").await;
    assert_eq!(
        tail.told().await,
        [
            "1 inserted -→Anna",
            "2 inserted -→Bea",
            "1 updated Anna→Anne/x [name note]",
            "1 updated Anne/x→Anne [note]",
            "2 updated Bea→Ben [name]",
            "1 deleted Anne→-",
            "2 deleted Ben→-",
        ]
    );
}

async fn what_is_rolled_back_is_not_delivered(world: World) {
    let mut tail = world.tail().await;
    world.run("BEGIN; INSERT INTO <people> (id, name) VALUES (1, 'Eve'); ROLLBACK").await;
    let savepoint = "BEGIN; INSERT INTO <people> (id, name) VALUES (1, 'Anna'); SAVEPOINT s;
        UPDATE <people> SET name = 'Eve'; ROLLBACK TO s; INSERT INTO <people> (id, name) VALUES (2, 'Bea'); COMMIT";
    world.run(savepoint).await;
    let failing = "INSERT INTO <people> (id, name) VALUES (3, 'Eve'), (1, 'Eve')";
    assert!(world.try_run(failing).await.is_err(), "the key is there already");
    assert_eq!(tail.told().await, ["1 inserted -→Anna", "2 inserted -→Bea"]);
}

async fn another_key_is_another_entity(world: World) {
    let mut tail = world.tail().await;
    world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
    world.run("UPDATE <people> SET id = 5, name = 'Anne'").await;
    assert_eq!(tail.told().await, ["1 inserted -→Anna", "1 deleted Anna→-", "5 inserted -→Anne"]);
}

async fn any_value_is_delivered(world: World) {
    let mut tail = world.tail().await;
    let name = "Ä“\"\\/\n\t\u{1}𝄞'; DROP TABLE people; --{}[]";
    world
        .run(&format!("INSERT INTO <people> (id, name, note) VALUES (-7, '{}', NULL)", name.replace('\'', "''")))
        .await;
    world.run("UPDATE <people> SET note = ''").await;
    world.run(&format!("UPDATE <people> SET id = {}", i64::MIN)).await;
    let minimum = i64::MIN;
    assert_eq!(
        tail.told().await,
        [
            format!("-7 inserted -→{name}"),
            format!("-7 updated {name}→{name}/ [note]"),
            format!("-7 deleted {name}/→-"),
            format!("{minimum} inserted -→{name}/"),
        ]
    );
    let loaded = world.source().plain().load(&[key(minimum), key(-7)]).await.expect("load");
    assert!(loaded[0].is_some() && loaded[1].is_none());
}

async fn an_update_of_nothing_is_no_change(world: World) {
    world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
    let mut tail = world.tail().await;
    world.run("UPDATE <people> SET name = name, note = NULL").await;
    assert!(tail.told().await.is_empty());
}

async fn every_write_of_many_writers_is_delivered_once(world: World) {
    const WRITERS: usize = 6;
    const WRITES: usize = 20;
    let mut tail = world.tail().await;
    let writers = (0..WRITERS).map(|writer| {
        let world = world.clone();
        tokio::spawn(async move {
            for write in 0..WRITES {
                let id = writer * WRITES + write;
                // Some take long enough for others to commit in between, and some never commit.
                let end = if write.is_multiple_of(5) { "ROLLBACK" } else { "COMMIT" };
                let pause = if world.is_postgres() { "SELECT pg_sleep(0.002);" } else { "" };
                let begin = if world.is_postgres() { "BEGIN" } else { "BEGIN IMMEDIATE" };
                let insert = format!("INSERT INTO <people> (id, name) VALUES ({id}, 'x')");
                world.run(&format!("{begin}; {insert}; {pause} {end}")).await;
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut changes = Vec::new();
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        changes.extend(tail.next().await.changes);
    }
    for writer in writers {
        writer.await.expect("a writer");
    }
    changes.extend(tail.all().await);
    let committed = (0..WRITERS * WRITES).filter(|id| !(id % WRITES).is_multiple_of(5));
    assert_eq!(counted(told(&changes)), counted(committed.map(|id| format!("{id} inserted -→x"))));
}

async fn a_large_transaction_is_delivered_in_batches_and_resumed_in_the_middle(world: World) {
    const NUMBER: i64 = 2_500;
    let mut tail = world.tail().await;
    let numbers = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 2499)";
    world.run(&format!("{numbers} INSERT INTO <people> (id, name) SELECT i, 'x' FROM n")).await;
    let expected: Vec<_> = (0..NUMBER).map(key).collect();

    let mut keys = Vec::new();
    let mut positions = vec![tail.stream.position()];
    while keys.len() < expected.len() {
        let batch = tail.next().await;
        assert_eq!(
            batch.as_of.is_some(),
            keys.len() + batch.changes.len() == expected.len(),
            "only the last is complete"
        );
        assert!(batch.changes.len() <= 1_000);
        keys.extend(batch.changes.into_iter().map(|change| change.key));
        positions.push(batch.position);
    }
    assert_eq!(keys, expected);
    assert!(positions.is_sorted_by(|one, two| one.order < two.order));

    // Something comes in between, which must not get lost behind the part that was delivered.
    world.run("UPDATE <people> SET name = 'y' WHERE id = 0").await;
    let mut tail = world.source().open(Start::After(positions[2].clone())).await.expect("open");
    let changes = tail.all().await;
    let (last, first) = changes.split_last().expect("the rest");
    assert_eq!(told(std::slice::from_ref(last)), ["0 updated x→y [name]"]);
    assert_eq!(first.iter().map(|change| change.key.clone()).collect::<Vec<_>>(), expected[2_000..]);
}

async fn rows_that_are_not_entities_do_not_stop_the_feed(world: World) {
    world.run(&format!("CREATE TABLE {} (id TEXT PRIMARY KEY, name TEXT)", world.table("loose"))).await;
    let source = world.source_of::<crate::world::Person>("loose");
    source.install().await.expect("install");
    let mut tail = source.tail().await;
    let table = world.table("loose");
    world.run(&format!("INSERT INTO {table} (id, name) VALUES ('one', 'Anna')")).await;
    world.run(&format!("UPDATE {table} SET name = NULL")).await;
    assert_eq!(tail.told().await, ["\"one\" inserted -→?", "\"one\" updated ?→? [name]"]);
    assert!(source.plain().list().await.is_err(), "a row that cannot be read is not passed over");
}

#[derive(Deserialize)]
struct Grade {
    number: i64,
}

impl EntityType for Grade {
    type Id = i64;
    const SOURCE: &'static str = "grades";

    fn id(&self) -> &i64 {
        &self.number
    }
}

#[derive(Deserialize)]
struct Name {
    id: i64,
}

impl EntityType for Name {
    type Id = i64;
    const SOURCE: &'static str = "names";

    fn id(&self) -> &i64 {
        &self.id
    }
}

async fn one_stream_serves_several_tables_and_types(world: World) {
    for table in ["grades", "others"] {
        world.run(&format!("CREATE TABLE {} (number INTEGER PRIMARY KEY)", world.table(table))).await;
    }
    let people = world.source();
    let names = world.source_of::<Name>("people");
    let grades = world.source_of::<Grade>("grades");
    let others = world.source_of::<Grade>("others");
    people.install().await.expect("install");
    grades.install().await.expect("install");
    others.install().await.expect("install");
    let (feed, topic) = people.feed();
    assert_eq!(grades.feed().0.id(), feed.id(), "one feed for all of them");
    let topics = [topic, names.feed().1, grades.feed().1];
    let mut tail = Tail { stream: feed.open(&topics, Start::Now).await.expect("open") };
    world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
    world.run(&format!("INSERT INTO {} (number) VALUES (2)", world.table("others"))).await;
    world.run(&format!("INSERT INTO {} (number) VALUES (3)", world.table("grades"))).await;
    let changes = tail.all().await;
    let found: Vec<_> = changes.iter().map(|change| (change.source.as_str(), change.key.clone())).collect();
    assert_eq!(found, [("people", key(1)), ("names", key(1)), ("grades", key(3))]);
    assert!(changes.iter().all(|change| change.kind == ChangeKind::Insert));
}

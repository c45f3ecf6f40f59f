//! Rows that SQLite removes without firing a trigger for them.

use crate::world::{World, told};

async fn world() -> World {
    let world = World::sqlite().await;
    world.run("CREATE UNIQUE INDEX by_name ON people (name COLLATE NOCASE, note)").await;
    world
}

fn case(case: impl AsyncFnOnce(World)) {
    smache_testkit::run(async { case(world().await).await });
}

#[test]
fn a_replaced_row_of_the_same_key_is_an_update() {
    case(async |world| {
        world.run("INSERT INTO people VALUES (1, 'Anna', 'a')").await;
        let mut tail = world.tail().await;
        world.run("INSERT OR REPLACE INTO people VALUES (1, 'Anne', 'a'), (2, 'Bea', 'b')").await;
        world.run("REPLACE INTO people VALUES (2, 'Bob', 'b')").await;
        assert_eq!(
            tail.told().await,
            ["1 updated Anna/a→Anne/a [name]", "2 inserted -→Bea/b", "2 updated Bea/b→Bob/b [name]"]
        );
    });
}

#[test]
fn rows_that_were_in_the_way_are_deleted() {
    case(async |world| {
        world.run("INSERT INTO people VALUES (1, 'Anna', 'a'), (2, 'Bea', 'b'), (3, 'Cleo', 'c')").await;
        let mut tail = world.tail().await;
        world.run("INSERT OR REPLACE INTO people VALUES (4, 'ANNA', 'a')").await;
        world.run("UPDATE OR REPLACE people SET name = 'bea', note = 'b' WHERE id = 3").await;
        world.run("UPDATE OR REPLACE people SET id = 4 WHERE id = 3").await;
        assert_eq!(
            tail.told().await,
            [
                "1 deleted Anna/a→-",
                "4 inserted -→ANNA/a",
                "2 deleted Bea/b→-",
                "3 updated Cleo/c→bea/b [name note]",
                "4 deleted ANNA/a→-",
                "3 deleted bea/b→-",
                "4 inserted -→bea/b",
            ]
        );
        assert_eq!(world.ask("SELECT name FROM people").await, ["bea"]);
    });
}

#[test]
fn what_stays_is_not_delivered() {
    case(async |world| {
        world.run("INSERT INTO people VALUES (1, 'Anna', 'a'), (2, 'Bea', 'b')").await;
        let mut tail = world.tail().await;
        world.run("INSERT OR IGNORE INTO people VALUES (1, 'Eve', 'e'), (5, 'anna', 'a')").await;
        world.run("UPDATE OR IGNORE people SET name = 'Anna', note = 'a' WHERE id = 2").await;
        let upsert = "INSERT INTO people VALUES (1, 'Eve', 'x') ON CONFLICT (id) DO UPDATE SET note = excluded.note";
        world.run(upsert).await;
        world.run("UPDATE people SET note = 'y' WHERE id = 1").await;
        world.run("UPDATE people SET note = 'z' WHERE id = 2").await;
        assert_eq!(
            tail.told().await,
            ["1 updated Anna/a→Anna/x [note]", "1 updated Anna/x→Anna/y [note]", "2 updated Bea/b→Bea/z [note]"]
        );
        assert!(world.ask("SELECT source FROM smache_replaced").await.is_empty());
    });
}

#[test]
fn a_writer_with_recursive_triggers_tells_it_as_well() {
    case(async |world| {
        world.run("INSERT INTO people VALUES (1, 'Anna', 'a')").await;
        let mut tail = world.tail().await;
        let replace = "PRAGMA recursive_triggers = on; REPLACE INTO people VALUES (7, 'Anna', 'a'); PRAGMA recursive_triggers = off";
        world.run(replace).await;
        let mut told = told(&tail.all().await);
        told.dedup();
        assert_eq!(told, ["1 deleted Anna/a→-", "7 inserted -→Anna/a"]);
    });
}

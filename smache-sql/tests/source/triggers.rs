//! Installing and removing.

use serde::{Deserialize, Serialize};
use smache_core::{EntityKey, EntityType, ErrorKind, Field, Start};

use crate::world::{Person, World, key, on_both};

on_both!(
    installing_twice_changes_nothing,
    uninstalling_removes_everything,
    a_renamed_table_is_recorded_once_and_nothing_of_it_is_left,
    a_table_that_was_dropped_or_renamed_leaves_nothing_behind_with_the_last_one,
    a_column_can_be_added,
    a_table_that_is_made_again_starts_again,
    names_may_be_anything,
);

/// Everything of this crate in the database.
async fn left(world: &World) -> Vec<String> {
    let sql = match world {
        World::Postgres { schema, .. } => format!(
            "SELECT relname::text FROM pg_class WHERE relnamespace = '\"{schema}\"'::regnamespace AND relname LIKE 'smache%'
             UNION ALL SELECT proname::text FROM pg_proc WHERE pronamespace = '\"{schema}\"'::regnamespace
             UNION ALL SELECT tgname::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
             WHERE c.relnamespace = '\"{schema}\"'::regnamespace AND NOT tgisinternal"
        ),
        World::Sqlite { .. } => "SELECT name FROM sqlite_schema WHERE name LIKE 'smache%'".to_owned(),
    };
    world.ask(&sql).await
}

async fn installing_twice_changes_nothing(world: World) {
    let mut tail = world.tail().await;
    let before = left(&world).await;
    let both = tokio::join!(async { world.source().install().await }, async { world.source().install().await });
    both.0.and(both.1).expect("install");
    world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
    assert_eq!(tail.told().await, ["1 inserted -→Anna"]);
    assert_eq!(left(&world).await, before);
}

async fn uninstalling_removes_everything(world: World) {
    world.run(&format!("CREATE TABLE {} (id BIGINT PRIMARY KEY, name TEXT)", world.table("others"))).await;
    let people = world.source();
    let others = world.source_of::<Person>("others");
    people.install().await.expect("install");
    others.install().await.expect("install");
    people.uninstall().await.expect("uninstall");
    people.uninstall().await.expect("nothing to do");
    assert_eq!(people.open(Start::Now).await.err().expect("no triggers").kind(), ErrorKind::Config);
    let mut tail = others.tail().await;
    world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
    world.run(&format!("INSERT INTO {} (id, name) VALUES (2, 'Bea')", world.table("others"))).await;
    assert_eq!(tail.told().await, ["2 inserted -→Bea"]);
    others.uninstall().await.expect("uninstall");
    assert_eq!(left(&world).await, Vec::<String>::new());
    world.run("INSERT INTO <people> (id, name) VALUES (3, 'Cleo')").await;
    others.uninstall().await.expect("nothing to do");
}

/// How many changes are recorded of an update of one row.
async fn recorded_by(world: &World, update: &str) -> usize {
    let count = format!("SELECT CAST(seq AS TEXT) FROM {}", world.table("smache_changes"));
    let before = world.ask(&count).await.len();
    world.run(update).await;
    world.ask(&count).await.len() - before
}

async fn a_renamed_table_is_recorded_once_and_nothing_of_it_is_left(world: World) {
    world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
    world.source().install().await.expect("install");
    world.run("ALTER TABLE <people> RENAME TO persons").await;
    let persons = world.source_of::<Person>("persons");
    let table = world.table("persons");
    persons.install().await.expect("install");
    assert_eq!(recorded_by(&world, &format!("UPDATE {table} SET name = 'Anne'")).await, 1);
    let mut tail = persons.tail().await;
    world.run(&format!("UPDATE {table} SET name = 'Ann'")).await;
    assert_eq!(tail.told().await, ["1 updated Anne→Ann [name]"]);
    persons.uninstall().await.expect("uninstall");
    assert_eq!(left(&world).await, Vec::<String>::new());
    world.run(&format!("UPDATE {table} SET name = 'Anna'")).await;

    // Under the earlier name, too; and another table may have that one by then.
    persons.install().await.expect("install");
    world.run(&format!("ALTER TABLE {table} RENAME TO people")).await;
    world.run(&format!("CREATE TABLE {table} (id BIGINT PRIMARY KEY, name TEXT NOT NULL)")).await;
    persons.uninstall().await.expect("uninstall");
    assert_eq!(left(&world).await, Vec::<String>::new());
    world.run("UPDATE <people> SET name = 'Anne'").await;
}

#[test]
fn a_second_set_of_triggers_on_a_table_of_sqlite_is_noticed_and_removed() {
    smache_testkit::run(async {
        let world = World::sqlite().await;
        world.source().install().await.expect("install");
        // As an install after a renaming left it.
        let second = "CREATE TRIGGER smache_insert_folk AFTER INSERT ON <people> BEGIN
                      INSERT INTO smache_changes (source, op) VALUES ('folk', 'INSERT'); END";
        world.run(second).await;
        assert_eq!(world.source().open(Start::Now).await.err().expect("another set").kind(), ErrorKind::Config);
        world.source().install().await.expect("install");
        assert_eq!(recorded_by(&world, "INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await, 1);
    });
}

async fn a_table_that_was_dropped_or_renamed_leaves_nothing_behind_with_the_last_one(world: World) {
    for table in ["others", "dropped"] {
        world.run(&format!("CREATE TABLE {} (id BIGINT PRIMARY KEY, name TEXT)", world.table(table))).await;
        world.source_of::<Person>(table).install().await.expect("install");
    }
    world.source().install().await.expect("install");
    world.run(&format!("DROP TABLE {}", world.table("dropped"))).await;
    world.run("ALTER TABLE <people> RENAME TO persons").await;
    let others = world.source_of::<Person>("others");
    let persons = world.source_of::<Person>("persons");
    others.uninstall().await.expect("uninstall");
    world.run(&format!("INSERT INTO {} (id, name) VALUES (1, 'Anna')", world.table("persons"))).await;
    assert!(!left(&world).await.is_empty(), "the triggers of the renamed one need the change table");
    persons.uninstall().await.expect("uninstall");
    assert_eq!(left(&world).await, Vec::<String>::new());
    world.run(&format!("INSERT INTO {} (id, name) VALUES (2, 'Bea')", world.table("persons"))).await;
}

async fn a_column_can_be_added(world: World) {
    world.run(&format!("CREATE TABLE {} (id BIGINT PRIMARY KEY, name TEXT)", world.table("growing"))).await;
    let source = world.source_of::<Person>("growing");
    source.install().await.expect("install");
    let mut tail = source.tail().await;
    let table = world.table("growing");
    world.run(&format!("INSERT INTO {table} (id, name) VALUES (1, 'Anna')")).await;
    assert_eq!(source.list().await.len(), 1);
    assert_eq!(tail.told().await, ["1 inserted -→Anna"]);
    world.run(&format!("ALTER TABLE {table} ADD COLUMN note TEXT")).await;
    world.run(&format!("UPDATE {table} SET note = 'new'")).await;
    assert_eq!(source.list().await[0].note.as_deref(), Some("new"), "loads see it at once");
    if world.is_postgres() {
        assert_eq!(tail.told().await, ["1 updated Anna→Anna/new [note]", "people reset"]);
    } else {
        // An image without the column would hide what the change is about.
        let error = tail.stream.next().await.expect_err("the triggers are of the old columns");
        assert_eq!(error.kind(), ErrorKind::Config);
        let position = tail.stream.position();
        source.install().await.expect("install");
        tail = source.open(Start::After(position)).await.expect("open");
        assert!(tail.told().await.contains(&"people reset".to_owned()));
    }
    source.install().await.expect("install");
    world.run(&format!("UPDATE {table} SET note = 'newer'")).await;
    assert_eq!(tail.told().await, ["1 updated Anna/new→Anna/newer [note]"]);
}

async fn a_table_that_is_made_again_starts_again(world: World) {
    let mut tail = world.tail().await;
    world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
    assert_eq!(tail.told().await, ["1 inserted -→Anna"]);
    let position = tail.stream.position();
    world
        .run("DROP TABLE <people>; CREATE TABLE <people> (id BIGINT PRIMARY KEY, name TEXT NOT NULL, note TEXT)")
        .await;
    world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anne')").await;
    assert_eq!(tail.stream.next().await.expect_err("no triggers").kind(), ErrorKind::Config);
    let source = world.source();
    source.install().await.expect("install");
    let mut tail = source.open(Start::After(position)).await.expect("open");
    world.run("UPDATE <people> SET name = 'Ann'").await;
    assert_eq!(tail.told().await, ["people reset", "1 updated Anne→Ann [name]"]);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Odd {
    #[serde(rename = "the \"id\"'s; --")]
    id: String,
    #[serde(rename = "smache_row")]
    row: Option<i64>,
    #[serde(rename = "ä\\$1 ?1{schema}")]
    text: Option<String>,
}

impl EntityType for Odd {
    type Id = String;
    const SOURCE: &'static str = "odd";

    fn id(&self) -> &String {
        &self.id
    }
}

async fn names_may_be_anything(world: World) {
    for name in ["o'dd \"table\"; DROP TABLE people; --", "Select", "{schema}$smache$", "ä\\%_"] {
        let table = world.table(name);
        world.run(&format!(
            "CREATE TABLE {table} (\"the \"\"id\"\"'s; --\" TEXT PRIMARY KEY, smache_row INTEGER, \"ä\\$1 ?1{{schema}}\" TEXT)"
        )).await;
        let source = world.source_of::<Odd>(name);
        source.install().await.expect(name);
        let mut tail = source.tail().await;
        world.run(&format!("INSERT INTO {table} VALUES ('o''ne', 1, 'x'), ('two', NULL, NULL)")).await;
        world.run(&format!("UPDATE {table} SET smache_row = 2 WHERE smache_row = 1")).await;
        let changes = tail.all().await;
        assert_eq!(changes.len(), 3, "{changes:?}");
        assert_eq!(changes[2].fields.as_deref(), Some(&["smache_row".to_owned()][..]));
        let keys = ["two", "o'ne", "three"].map(|id| EntityKey::encode(id).expect("a key"));
        let loaded = source.plain().load(&keys).await.expect("load");
        let loaded: Vec<_> = loaded
            .iter()
            .map(|image| image.as_ref().map(|image| image.get::<Odd>().expect("of the type").row))
            .collect();
        assert_eq!(loaded, [Some(None), Some(Some(2)), None]);
        let row = Field::<Odd, Option<i64>>::new("smache_row", |odd| &odd.row);
        let text = Field::<Odd, Option<String>>::new("ä\\$1 ?1{schema}", |odd| &odd.text);
        for (filter, number) in [
            (row.eq(Some(2)) & text.eq(Some("x".to_owned())), 1),
            (row.eq(None) & text.eq(None), 1),
            (row.eq(None) & text.eq(Some("x".to_owned())), 0),
        ] {
            let filter = filter.into_filter().expect("a filter");
            assert_eq!(source.plain().find(&filter).await.expect("find").len(), number);
        }
        source.uninstall().await.expect(name);
    }
    assert_eq!(left(&world).await, Vec::<String>::new());
    assert!(world.source().plain().load(&[key(1)]).await.expect("the people are there")[0].is_none());
}

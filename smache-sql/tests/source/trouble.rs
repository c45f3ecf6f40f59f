//! Tables, triggers and rights that go away under a source: the error messages, and that it works again.

use smache_core::{ErrorKind, Field, Start};
use smache_sql::PostgresSourceBuilder;
use sqlx::postgres::PgPoolOptions;

use crate::world::{Person, World, key, on_both};

on_both!(
    a_trigger_that_is_dropped_is_noticed_and_what_was_missed_is_covered,
    a_table_that_is_renamed_is_named_and_found_again,
    a_column_that_is_dropped_is_named,
    every_reader_names_a_table_that_is_gone,
);

fn says(error: &smache_core::Error, kind: ErrorKind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{}", error.report());
    for word in words {
        assert!(error.report().contains(word), "{} does not say {word}", error.report());
    }
}

async fn a_trigger_that_is_dropped_is_noticed_and_what_was_missed_is_covered(world: World) {
    world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
    let mut tail = world.tail().await;
    assert!(tail.told().await.is_empty());
    let drop =
        if world.is_postgres() { "DROP TRIGGER smache_row ON <people>" } else { "DROP TRIGGER smache_update_people" };
    world.run(drop).await;
    world.run("UPDATE <people> SET name = 'Anne'").await;
    says(&tail.stream.next().await.expect_err("a trigger is gone"), ErrorKind::Config, &["`people`", "`install`"]);
    let position = tail.stream.position();
    world.source().install().await.expect("install");
    let mut tail = world.source().open(Start::After(position)).await.expect("open");
    assert_eq!(tail.told().await, ["people reset"]);
    world.run("UPDATE <people> SET name = 'Ann'").await;
    assert_eq!(tail.told().await, ["1 updated Anne→Ann [name]"]);
}

async fn a_table_that_is_renamed_is_named_and_found_again(world: World) {
    world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
    let source = world.source();
    let mut tail = world.tail().await;
    assert!(source.plain().load(&[key(1)]).await.expect("load")[0].is_some());
    world.run("ALTER TABLE <people> RENAME TO persons").await;
    says(&source.plain().load(&[key(1)]).await.expect_err("another name"), ErrorKind::Config, &["people"]);
    says(&tail.stream.next().await.expect_err("another name"), ErrorKind::Config, &["people"]);
    // The triggers went with the table, and still say the name that they were made for.
    let renamed = world.source_of::<Person>("persons");
    renamed.install().await.expect("install");
    let mut tail = renamed.tail().await;
    world.run(&format!("UPDATE {} SET name = 'Anne'", world.table("persons"))).await;
    assert_eq!(tail.told().await, ["1 updated Anna→Anne [name]"]);
    world.run(&format!("ALTER TABLE {} RENAME TO people", world.table("persons"))).await;
    world.source().install().await.expect("install");
    let mut tail = world.source().tail().await;
    world.run("UPDATE <people> SET name = 'Ann'").await;
    assert_eq!(tail.told().await, ["1 updated Anne→Ann [name]"]);
    assert_eq!(source.list().await.len(), 1, "a source from before finds it again");
}

async fn a_column_that_is_dropped_is_named(world: World) {
    world.run("INSERT INTO <people> (id, name, note) VALUES (1, 'Anna', 'x')").await;
    let source = world.source();
    let note = || Field::<Person, Option<String>>::new("note", |person| &person.note);
    let filter = || note().eq(Some("x".to_owned())).into_filter().expect("a filter");
    assert_eq!(source.plain().find(&filter()).await.expect("find").len(), 1);
    world.run("ALTER TABLE <people> DROP COLUMN note").await;
    says(&source.plain().find(&filter()).await.expect_err("no column"), ErrorKind::Config, &["people", "column"]);
    assert_eq!(source.list().await.len(), 1, "the field may be absent");
    world.run("ALTER TABLE <people> DROP COLUMN name").await;
    says(&source.plain().load(&[key(1)]).await.expect_err("no name"), ErrorKind::Corrupt, &["people", "name"]);
    world.run("ALTER TABLE <people> ADD COLUMN name TEXT NOT NULL DEFAULT 'Anna'").await;
    assert_eq!(source.list().await[0].name, "Anna");
}

async fn every_reader_names_a_table_that_is_gone(world: World) {
    let source = world.source_of::<Person>("nowhere");
    says(&source.plain().load(&[key(1)]).await.expect_err("no table"), ErrorKind::Config, &["nowhere"]);
    says(&source.open(Start::Now).await.err().expect("no table"), ErrorKind::Config, &["nowhere"]);
    let people = world.source();
    people.list().await;
    world.run("DROP TABLE <people>").await;
    says(&people.plain().load(&[key(1)]).await.expect_err("no table"), ErrorKind::Config, &["people"]);
    world.run("CREATE TABLE <people> (id BIGINT PRIMARY KEY, name TEXT NOT NULL, note TEXT)").await;
    assert!(people.list().await.is_empty());
}

#[test]
fn a_role_learns_which_right_on_the_change_table_it_lacks() {
    smache_testkit::run(async {
        let world = World::postgres().await;
        world.source().install().await.expect("install");
        let World::Postgres { pool, schema } = &world else { return };
        let role = format!("poor-{schema}");
        world
            .run(&format!(
                "CREATE ROLE \"{role}\" LOGIN; GRANT USAGE ON SCHEMA \"{schema}\" TO \"{role}\"; GRANT SELECT ON <people> TO \"{role}\""
            ))
            .await;
        let options = (*pool.connect_options()).clone().username(&role);
        let poor = World::Postgres {
            pool: sqlx::PgPool::connect_with(options).await.expect("a connection"),
            schema: schema.clone(),
        };
        assert!(poor.source().list().await.is_empty(), "it may read the table");
        let error = poor.source().open(Start::Now).await.err().expect("it may not read the changes");
        says(&error, ErrorKind::Permission, &["`SELECT`", "smache_", schema]);
        world.run(&format!("GRANT SELECT ON ALL TABLES IN SCHEMA \"{schema}\" TO \"{role}\"")).await;
        let mut tail = poor.source().tail().await;
        world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
        assert_eq!(tail.told().await, ["1 inserted -→Anna"]);
    });
}

#[test]
fn a_standby_is_refused_by_its_feed_and_by_every_read() {
    smache_testkit::run(async {
        let primary = smache_testkit::servers::PostgresServer::start().await;
        let world = World::postgres_at(&primary.url()).await;
        world.source().install().await.expect("install");
        let World::Postgres { schema, .. } = &world else { return };
        // Whatever it is asked for: that a row is not there, or cannot be there, is an answer of old data, too.
        world
            .run(&format!(
                "INSERT INTO <people> (id, name) VALUES (1, 'Anna'); CREATE TABLE {} (id int PRIMARY KEY, name text)",
                world.table("small")
            ))
            .await;
        let standby = primary.start_standby().await;
        let pool = sqlx::PgPool::connect(&standby.url()).await.expect("a connection");
        let copy = World::Postgres { pool, schema: schema.clone() };
        let name = |name: &str| {
            Field::<Person, String>::new("name", |person| &person.name)
                .eq(name.to_owned())
                .into_filter()
                .expect("a filter")
        };
        let number =
            |id: i64| Field::<Person, i64>::new("id", |person| &person.id).eq(id).into_filter().expect("a filter");
        let within = copy.built::<Person>("people", PostgresSourceBuilder::transactional, |builder| builder);
        let people = copy.source().plain();
        let small = copy.source_of::<Person>("small").plain();
        for error in [
            copy.source().open(Start::Now).await.err(),
            copy.source().install().await.err(),
            people.load(&[key(1)]).await.err(),
            people.load(&[key(2)]).await.err(),
            people.list().await.err(),
            people.find(&name("Anna")).await.err(),
            people.find(&name("Bea")).await.err(),
            small.load(&[key(i64::MAX)]).await.err(),
            small.find(&number(i64::MAX)).await.err(),
            within.plain().load(&[key(1)]).await.err(),
        ] {
            says(&error.expect("a standby"), ErrorKind::WrongServer, &["primary"]);
        }
    });
}

#[test]
fn a_pool_that_is_led_to_a_standby_later_is_refused_then() {
    smache_testkit::run(async {
        let primary = smache_testkit::servers::PostgresServer::start().await;
        let World::Postgres { schema, .. } = World::postgres_at(&primary.url()).await else { return };
        let pool = PgPoolOptions::new().max_connections(1).connect(&primary.url()).await.expect("a connection");
        let world = World::Postgres { pool: pool.clone(), schema };
        world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
        let people = world.source().plain();
        assert!(people.load(&[key(1)]).await.expect("load")[0].is_some());
        let standby = primary.start_standby().await;
        let options = (*pool.connect_options()).clone().port(standby.port());
        pool.set_connect_options(options);
        pool.acquire().await.expect("a connection").close().await.expect("it is closed");
        says(&people.load(&[key(1)]).await.expect_err("a standby"), ErrorKind::WrongServer, &["people", "primary"]);
        pool.set_connect_options((*pool.connect_options()).clone().port(primary.port()));
        pool.acquire().await.expect("a connection").close().await.expect("it is closed");
        assert_eq!(people.list().await.expect("list").len(), 1);
    });
}

//! The refused tables, and the errors for them.

use serde::Deserialize;
use smache_core::{EntityType, ErrorKind, Field, Start};

use crate::world::{Person, World, key, on_both};

on_both!(
    a_feed_without_its_triggers_names_the_table_and_the_fix,
    tables_without_a_single_key_are_refused,
    an_id_that_is_not_the_key_is_an_error,
    a_field_that_is_no_column_is_an_error,
    sources_of_two_databases_on_one_feed_are_refused,
);

fn config(error: &smache_core::Error, words: &[&str]) {
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.report());
    for word in words {
        assert!(error.to_string().contains(word), "{error} does not say {word}");
    }
}

async fn a_feed_without_its_triggers_names_the_table_and_the_fix(world: World) {
    let source = world.source();
    config(&source.open(Start::Now).await.err().expect("no change table"), &["`install`"]);
    world.run(&format!("CREATE TABLE {} (id BIGINT PRIMARY KEY, name TEXT)", world.table("others"))).await;
    world.source_of::<Person>("others").install().await.expect("install");
    config(&source.open(Start::Now).await.err().expect("no triggers"), &["`people`", "`install`"]);
    source.install().await.expect("install");
    let mut tail = source.tail().await;
    world.run("DROP TABLE <people>").await;
    let error = loop {
        match tail.stream.next().await {
            Ok(batch) => assert!(batch.changes.is_empty()),
            Err(error) => break error,
        }
    };
    config(&error, &["`people`"]);
}

async fn tables_without_a_single_key_are_refused(world: World) {
    world.run(&format!("CREATE TABLE {} (a INT, b INT UNIQUE)", world.table("bare"))).await;
    let install = |table: &'static str, column: Option<&'static str>| {
        let world = world.clone();
        async move {
            let source = world.built::<Person>(
                table,
                |builder| match column {
                    Some(column) => builder.id_column(column),
                    None => builder,
                },
                |builder| match column {
                    Some(column) => builder.id_column(column),
                    None => builder,
                },
            );
            source.install().await
        }
    };
    config(&install("bare", None).await.expect_err("no key"), &["`bare`", "id_column"]);
    config(&install("bare", Some("a")).await.expect_err("not unique"), &["`a`", "unique"]);
    config(&install("bare", Some("c")).await.expect_err("no column"), &["`bare`", "`c`"]);
    config(&install("nowhere", None).await.expect_err("no table"), &["nowhere", "create it", "check the name"]);
    world.run(&format!("CREATE VIEW {} AS SELECT * FROM <people>", world.table("seen"))).await;
    config(&install("seen", None).await.expect_err("a view"), &["seen`", "tables that its rows come from"]);
    install("bare", Some("b")).await.expect("a unique column");
}

#[derive(Deserialize)]
struct Wrong {
    note: i64,
}

impl EntityType for Wrong {
    type Id = i64;
    const SOURCE: &'static str = "wrong";

    fn id(&self) -> &i64 {
        &self.note
    }
}

async fn an_id_that_is_not_the_key_is_an_error(world: World) {
    let table = world.table("wrong");
    world.run(&format!("CREATE TABLE {table} (id BIGINT PRIMARY KEY, note BIGINT)")).await;
    world.run(&format!("INSERT INTO {table} VALUES (1, 2)")).await;
    let error = world.source_of::<Wrong>("wrong").plain().load(&[key(1)]).await.expect_err("another id");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("`id`") && error.to_string().contains("wrong"), "{error}");
}

async fn a_field_that_is_no_column_is_an_error(world: World) {
    let filter = Field::<Person, String>::new("nom", |person| &person.name).eq("Anna").into_filter().expect("a filter");
    let error = world.source().plain().find(&filter).await.expect_err("no such column");
    config(&error, &["`nom`", "`people`"]);
}

async fn sources_of_two_databases_on_one_feed_are_refused(world: World) {
    let other = if world.is_postgres() { World::postgres().await } else { World::sqlite().await };
    let one = world.source();
    let two = other.source();
    one.install().await.expect("install");
    two.install().await.expect("install");
    let (feed, topic) = one.feed();
    let error = feed.open(&[topic, two.feed().1], Start::Now).await.expect_err("two databases");
    config(&error, &["`people`", "feed of its own"]);
}

//! The triggers that record what changes.

use smache_core::{Error, ErrorKind, Result};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::table::{Description, LiteTable};
use crate::source::{
    error::{bounded, classify},
    name::{literal, quoted},
};

/// The kinds of triggers. None begins like another one, so that a trigger is of one kind and one table only.
const KINDS: [&str; 5] = ["preinsert", "insert", "preupdate", "update", "delete"];

fn trigger_name(kind: &str, table: &str) -> String {
    format!("smache_{kind}_{table}")
}

/// The triggers of a table, as SQLite keeps their text, by name.
fn triggers(table: &str, description: &Description) -> Vec<(String, String)> {
    let (name, on, id) = (literal(table), quoted(table), quoted(&description.id.name));
    let (old, new, present) = (description.json("OLD"), description.json("NEW"), description.json("o"));

    // A `REPLACE` removes the rows that are in its way without a word, unless the writer has set `recursive_triggers`. So
    // they are noted before, and afterwards it shows which of them are gone.
    let in_the_way = |step: &str, except: &str| {
        let rows = description.keys.iter().map(|key| {
            let equal = key.iter().map(|(column, collation)| {
                let column = quoted(column);
                format!("o.{column} = NEW.{column} COLLATE {}", quoted(collation))
            });
            let equal = equal.collect::<Vec<_>>().join(" AND ");
            format!("SELECT {name}, '{step}', o.{id}, {present} FROM {on} AS o WHERE {equal}{except}")
        });
        format!(
            "DELETE FROM smache_replaced WHERE source = {name};
INSERT INTO smache_replaced (source, step, id, before) {};",
            rows.collect::<Vec<_>>().join(" UNION ")
        )
    };
    // By the index, and then exactly: a collation may take another row for it.
    let gone = format!("NOT EXISTS (SELECT 1 FROM {on} AS o WHERE o.{id} = r.id AND o.{id} = r.id COLLATE BINARY)");
    let removed = |step: &str, condition: &str| {
        format!(
            "INSERT INTO smache_changes (source, op, before) SELECT {name}, 'DELETE', r.before FROM smache_replaced AS r
WHERE r.source = {name} AND r.step = '{step}' AND {condition};"
        )
    };
    let bodies = [
        ("preinsert", "BEFORE INSERT", in_the_way("insert", "")),
        (
            "insert",
            "AFTER INSERT",
            format!(
                "{}
INSERT INTO smache_changes (source, op, before, after) VALUES ({name}, 'INSERT',
(SELECT r.before FROM smache_replaced AS r WHERE r.source = {name} AND r.step = 'insert' AND r.id IS NEW.{id}), {new});
DELETE FROM smache_replaced WHERE source = {name};",
                removed("insert", &format!("r.id IS NOT NEW.{id} AND {gone}"))
            ),
        ),
        ("preupdate", "BEFORE UPDATE", in_the_way("update", &format!(" AND o.{id} IS NOT OLD.{id} COLLATE BINARY"))),
        (
            "update",
            "AFTER UPDATE",
            format!(
                "{}
INSERT INTO smache_changes (source, op, before, after) VALUES ({name}, 'UPDATE', {old}, {new});
DELETE FROM smache_replaced WHERE source = {name};",
                removed("update", &format!("(r.id IS NEW.{id} OR {gone})"))
            ),
        ),
        (
            "delete",
            "AFTER DELETE",
            format!("INSERT INTO smache_changes (source, op, before) VALUES ({name}, 'DELETE', {old});"),
        ),
    ];
    let trigger = |(kind, when, body): (&str, &str, String)| {
        let trigger = trigger_name(kind, table);
        let sql = format!("CREATE TRIGGER {} {when} ON {on} FOR EACH ROW BEGIN\n{body}\nEND", quoted(&trigger));
        (trigger, sql)
    };
    bodies.into_iter().map(trigger).collect()
}

/// Whether the triggers are there, and made for the present columns and indexes.
pub(super) async fn intact(
    connection: &mut SqliteConnection,
    table: &LiteTable,
    description: &Description,
) -> sqlx::Result<bool> {
    for (name, sql) in triggers(&table.name, description) {
        let present: Option<String> =
            sqlx::query_scalar("SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = ?1 AND tbl_name = ?2")
                .bind(name)
                .bind(&table.name)
                .fetch_optional(&mut *connection)
                .await?;
        if present != Some(sql) {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn run(connection: &mut SqliteConnection, sql: String, doing: &str) -> Result<()> {
    let outcome = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    outcome.map(drop).map_err(|error| classify(error, doing))
}

fn drops(table: &str) -> String {
    KINDS.map(|kind| format!("DROP TRIGGER IF EXISTS {};", quoted(&trigger_name(kind, table)))).join("\n")
}

/// Makes the triggers, unless they are as they should be.
pub(super) async fn install(table: &LiteTable) -> Result<()> {
    let doing = table.doing("installing the triggers on");
    let failed = |error| classify(error, &doing);
    let wal = sqlx::query("PRAGMA journal_mode = WAL").execute(&table.pool);
    bounded(table.timeout, ErrorKind::Unavailable, &doing, wal).await?;
    // Immediate: a transaction that reads first and writes then cannot wait for another writer.
    let begin = table.pool.begin_with("BEGIN IMMEDIATE");
    let mut transaction = bounded(table.timeout, ErrorKind::Unavailable, &doing, begin).await?;
    let description = table.describe(&mut transaction).await?;
    run(&mut transaction, include_str!("../queries/sqlite_install.sql").to_owned(), &doing).await?;
    if !intact(&mut transaction, table, &description).await.map_err(failed)? {
        run(&mut transaction, drops(&table.name), &doing).await?;
        for (_, sql) in triggers(&table.name, &description) {
            // One by one, because their bodies have semicolons of their own.
            sqlx::query(AssertSqlSafe(sql)).execute(&mut *transaction).await.map_err(failed)?;
        }
        let reset = format!("INSERT INTO smache_changes (source, op) VALUES ({}, 'INSTALL')", literal(&table.name));
        run(&mut transaction, reset, &doing).await?;
    }
    transaction.commit().await.map_err(failed)
}

/// Removes the triggers, and what they need with the last of them.
pub(super) async fn uninstall(table: &LiteTable) -> Result<()> {
    let doing = table.doing("removing the triggers from");
    let begin = table.pool.begin_with("BEGIN IMMEDIATE");
    let mut transaction = bounded(table.timeout, ErrorKind::Unavailable, &doing, begin).await?;
    run(&mut transaction, drops(&table.name), &doing).await?;
    let last: bool = sqlx::query_scalar(
        "SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'trigger' AND name GLOB 'smache_insert_*')",
    )
    .fetch_one(&mut *transaction)
    .await
    .map_err(|error| classify(error, &doing))?;
    if last {
        let tables = ["smache_changes", "smache_replaced", "smache_feed"];
        run(&mut transaction, tables.map(|table| format!("DROP TABLE IF EXISTS {table};")).join("\n"), &doing).await?;
    }
    transaction.commit().await.map_err(|error| classify(error, &doing))
}

/// Why a feed cannot be read without its triggers, and what to do.
pub(super) fn missing(tables: &str) -> Error {
    let message = format!(
        "the triggers on `{tables}` are not there, or not made for the present columns: call `install` of the source"
    );
    Error::new(ErrorKind::Config, message)
}

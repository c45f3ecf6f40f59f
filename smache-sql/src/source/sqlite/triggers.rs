//! The triggers that record what changes.

use smache_core::{Error, ErrorKind, Result};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::table::{Description, LiteTable};
use crate::{
    error::{bounded, of_source},
    source::{
        name::{literal, quoted},
        version::{OLDEST_SERVED, VERSION, steps_from},
    },
};

/// The migrations from each version to the next, the first from 1 to 2.
const MIGRATIONS: &[&str] =
    &[include_str!("../queries/migrations/sqlite_2.sql"), include_str!("../queries/migrations/sqlite_3.sql")];

/// The trigger that begins a new history when changes are removed that were not trimmed. As SQLite keeps its text.
const GUARD: &str = include_str!("../queries/sqlite_guard.sql");

/// Begins another history, behind every number that was used.
const ANOTHER_HISTORY: &str =
    "UPDATE smache_feed SET id = lower(hex(randomblob(16))), mark = lower(hex(randomblob(8))),
    trimmed = max(trimmed, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'smache_changes'), 0))";

/// Whether the guard of the change table is unchanged.
async fn is_guarded(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    let guard = "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = 'smache_guard'";
    let present: Option<String> = sqlx::query_scalar(guard).fetch_optional(connection).await?;
    Ok(present.is_some_and(|present| present == GUARD.trim_end()))
}

/// The kinds of triggers. None begins like another one, so that a trigger is of one kind and one table only.
const KINDS: [&str; 5] = ["preinsert", "insert", "preupdate", "update", "delete"];

fn trigger_name(kind: &str, table: &str) -> String {
    format!("smache_{kind}_{table}")
}

/// The triggers of a table, as SQLite keeps their text, by name.
fn triggers(table: &str, description: &Description) -> Vec<(String, String)> {
    let name = literal(table);
    let on = quoted(table);
    let old_id = description.id("OLD");
    let new_id = description.id("NEW");
    let present_id = description.id("o");
    let old = description.json("OLD");
    let new = description.json("NEW");
    let present = description.json("o");

    // A `REPLACE` removes the rows that are in its way without a word, unless the writer has set `recursive_triggers`.
    // So they are noted before, and afterwards it shows which of them are gone.
    let in_the_way = |step: &str, except: &str| {
        let rows = description.keys.iter().map(|key| {
            let equal = key.iter().map(|(column, collation)| {
                let column = quoted(column);
                format!("o.{column} = NEW.{column} COLLATE {}", quoted(collation))
            });
            let equal = equal.collect::<Vec<_>>().join(" AND ");
            format!("SELECT {name}, '{step}', {present_id}, {present} FROM {on} AS o WHERE {equal}{except}")
        });
        format!(
            "DELETE FROM smache_replaced WHERE source = {name};
INSERT INTO smache_replaced (source, step, id, before) {};",
            rows.collect::<Vec<_>>().join(" UNION ")
        )
    };
    // By the index, and then exactly: a collation may take another row for it.
    let same = match &description.shape.ids[..] {
        [_] => format!("{present_id} = r.id"),
        ids => {
            let same = ids.iter().map(|id| format!("o.{} = {}", quoted(id), noted(id)));
            same.collect::<Vec<_>>().join(" AND ")
        }
    };
    let gone = format!("NOT EXISTS (SELECT 1 FROM {on} AS o WHERE {same} AND {present_id} = r.id COLLATE BINARY)");
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
(SELECT r.before FROM smache_replaced AS r WHERE r.source = {name} AND r.step = 'insert' AND r.id IS {new_id}), {new});
DELETE FROM smache_replaced WHERE source = {name};",
                removed("insert", &format!("r.id IS NOT {new_id} AND {gone}"))
            ),
        ),
        (
            "preupdate",
            "BEFORE UPDATE",
            in_the_way("update", &format!(" AND {present_id} IS NOT {old_id} COLLATE BINARY")),
        ),
        (
            "update",
            "AFTER UPDATE",
            format!(
                "{}
INSERT INTO smache_changes (source, op, before, after) VALUES ({name}, 'UPDATE', {old}, {new});
DELETE FROM smache_replaced WHERE source = {name};",
                removed("update", &format!("(r.id IS {new_id} OR {gone})"))
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

/// A column of a noted row, from its JSON, which writes blobs and some floats in another form: a row that is not found
/// by it counts as gone, which only reports too much.
fn noted(column: &str) -> String {
    if column.contains(['"', '\\']) {
        return "NULL".to_owned();
    }
    format!("json_extract(r.before, {})", literal(&format!("$.{}", quoted(column))))
}

/// The triggers of this crate that are on a table. They go with it when it is renamed, and keep their names.
async fn present(connection: &mut SqliteConnection, table: &str) -> sqlx::Result<Vec<String>> {
    let names = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE";
    let names: Vec<String> = sqlx::query_scalar(names).bind(table).fetch_all(connection).await?;
    Ok(names.into_iter().filter(|name| KINDS.iter().any(|kind| name.starts_with(&trigger_name(kind, "")))).collect())
}

/// Whether the triggers are there, and made for the present columns and indexes, and no others beside them: each would
/// record every write once more.
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
    Ok(present(connection, &table.name).await?.len() == KINDS.len() && is_guarded(connection).await?)
}

/// The triggers of the application that write to the table during a write to it: they run in the middle of a statement,
/// and the rows that a `REPLACE` removes are unknown after them.
pub(super) async fn meddling(connection: &mut SqliteConnection, table: &str) -> sqlx::Result<Vec<String>> {
    let all =
        "SELECT name, lower(sql) FROM sqlite_schema WHERE type = 'trigger' AND name NOT GLOB 'smache_*' ORDER BY name";
    let all: Vec<(String, String)> = sqlx::query_as(all).fetch_all(connection).await?;
    let table = table.to_lowercase();
    let writes = |sql: &str| {
        // A trigger's statements stand after the first `begin`, which no name before it is likely to contain.
        let body = sql.split_once("begin").map_or(sql, |(_, body)| body);
        let words = ["insert", "replace", "update", "delete"];
        words.iter().any(|word| body.contains(word)) && body.contains(&table)
    };
    Ok(all.into_iter().filter(|(_, sql)| writes(sql)).map(|(name, _)| name).collect())
}

/// The version of what `install` has made, if it has made anything.
pub(super) async fn version(connection: &mut SqliteConnection) -> sqlx::Result<Option<i64>> {
    let columns = "SELECT name FROM pragma_table_info('smache_feed')";
    let columns: Vec<String> = sqlx::query_scalar(columns).fetch_all(&mut *connection).await?;
    match &columns[..] {
        [] => Ok(None),
        columns if columns.iter().any(|column| column == "version") => {
            sqlx::query_scalar("SELECT version FROM smache_feed").fetch_optional(connection).await
        }
        // The first one had no column for it.
        _ => Ok(Some(1)),
    }
}

/// Migrates the tables of an older release, and refuses those of a newer one: calling `install` again upgrades, and
/// nothing goes back.
async fn migrate(connection: &mut SqliteConnection, doing: &str) -> Result<()> {
    let version = version(connection).await.map_err(|error| of_source(error, doing))?;
    let Some(version) = version else { return Ok(()) };
    for step in steps_from(version, MIGRATIONS, "the database")? {
        run(connection, (*step).to_owned(), doing).await?;
    }
    Ok(())
}

async fn run(connection: &mut SqliteConnection, sql: String, doing: &str) -> Result<()> {
    let outcome = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    outcome.map(drop).map_err(|error| of_source(error, doing))
}

/// Removes the triggers of the table, also under its earlier names, and triggers with its names on a renamed table.
async fn drop_triggers(connection: &mut SqliteConnection, table: &str, doing: &str) -> Result<()> {
    let mut names = present(connection, table).await.map_err(|error| of_source(error, doing))?;
    names.extend(KINDS.map(|kind| trigger_name(kind, table)));
    let drops = names.iter().map(|name| format!("DROP TRIGGER IF EXISTS {};", quoted(name)));
    run(connection, drops.collect::<Vec<_>>().join("\n"), doing).await
}

/// Makes the triggers, unless they are as they should be.
pub(super) async fn install(table: &LiteTable) -> Result<()> {
    let doing = table.doing("installing the triggers on");
    let failed = |error| of_source(error, &doing);
    let wal = sqlx::query("PRAGMA journal_mode = WAL").execute(&table.pool);
    bounded(table.timeout, ErrorKind::Unavailable, &doing, wal).await?;
    // Immediate: a transaction that reads first and writes then cannot wait for another writer.
    let begin = table.pool.begin_with("BEGIN IMMEDIATE");
    let mut transaction = bounded(table.timeout, ErrorKind::Unavailable, &doing, begin).await?;
    let description = table.describe(&mut transaction).await?;
    let was = version(&mut transaction).await.map_err(failed)?;
    migrate(&mut transaction, &doing).await?;
    run(&mut transaction, include_str!("../queries/sqlite_install.sql").to_owned(), &doing).await?;
    if !is_guarded(&mut transaction).await.map_err(failed)? {
        run(&mut transaction, "DROP TRIGGER IF EXISTS smache_guard".to_owned(), &doing).await?;
        sqlx::query(GUARD.trim_end()).execute(&mut *transaction).await.map_err(failed)?;
        // The program that took the guard away may have removed changes since.
        if was == Some(VERSION) {
            run(&mut transaction, ANOTHER_HISTORY.to_owned(), &doing).await?;
        }
    }
    let present =
        format!("UPDATE smache_feed SET version = {VERSION}, oldest = {OLDEST_SERVED} WHERE version <> {VERSION}");
    run(&mut transaction, present, &doing).await?;
    if !intact(&mut transaction, table, &description).await.map_err(failed)? {
        drop_triggers(&mut transaction, &table.name, &doing).await?;
        for (_, sql) in triggers(&table.name, &description) {
            // One by one, because their bodies contain semicolons.
            sqlx::query(AssertSqlSafe(sql)).execute(&mut *transaction).await.map_err(failed)?;
        }
        let reset = format!("INSERT INTO smache_changes (source, op) VALUES ({}, 'INSTALL')", literal(&table.name));
        run(&mut transaction, reset, &doing).await?;
    }
    transaction.commit().await.map_err(failed)
}

/// Removes the triggers, and with the last of them the tables that they need.
pub(super) async fn uninstall(table: &LiteTable) -> Result<()> {
    let doing = table.doing("removing the triggers from");
    let begin = table.pool.begin_with("BEGIN IMMEDIATE");
    let mut transaction = bounded(table.timeout, ErrorKind::Unavailable, &doing, begin).await?;
    drop_triggers(&mut transaction, &table.name, &doing).await?;
    let last: bool = sqlx::query_scalar(
        "SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'trigger' AND name GLOB 'smache_insert_*')",
    )
    .fetch_one(&mut *transaction)
    .await
    .map_err(|error| of_source(error, &doing))?;
    if last {
        let tables = ["smache_changes", "smache_replaced", "smache_feed"];
        run(&mut transaction, tables.map(|table| format!("DROP TABLE IF EXISTS {table};")).join("\n"), &doing).await?;
    }
    transaction.commit().await.map_err(|error| of_source(error, &doing))
}

/// Why a feed cannot be read without its triggers, and what to do.
pub(super) fn missing(tables: &str) -> Error {
    let message = format!(
        "the triggers on `{tables}` are not there, or not made for the present columns, or by an older release: call `install` of the source"
    );
    Error::new(ErrorKind::Config, message)
}

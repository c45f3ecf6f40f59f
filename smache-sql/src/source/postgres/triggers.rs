//! The triggers that record what changes.

use std::{error::Error as _, time::Duration};

use smache_core::{Error, ErrorKind, Result};
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Transaction};

use super::table::PgTable;
use crate::{
    error::{bounded, lost_against_others, made_by_another, of_source, waited_too_long},
    source::{
        name::{escaped, filled, quoted},
        version::{OLDEST_SERVED, VERSION, steps_from},
    },
};

/// The name of the change table, for `to_regclass`.
pub(super) fn change_table(schema: &str) -> String {
    escaped(&format!("{}.smache_changes", quoted(schema)))
}

/// A subquery for the marks of the present triggers of a table.
pub(super) fn present_triggers(schema: &str, table_name: &str) -> String {
    let parts = [("schema_name", &*escaped(schema)), ("table_name", table_name)];
    filled(include_str!("../queries/postgres_triggers.sql"), &parts)
}

/// The migrations from each version to the next, the first from 1 to 2.
const MIGRATIONS: &[&str] =
    &[include_str!("../queries/migrations/postgres_2.sql"), include_str!("../queries/migrations/postgres_3.sql")];

/// How long a change of triggers waits for a lock: every other user of the table queues behind it.
const LOCK_WITHIN: &str = "SELECT set_config('lock_timeout', '2s', true)";

/// How often it is tried, and for how long it lets the others pass in between.
const TRIES: (u32, Duration) = (15, Duration::from_millis(200));

/// Pauses before the next try of a step that waited for a lock for too long, or lost against others. Returns any other
/// error.
async fn pause(error: Error, tries: &mut u32) -> Result<()> {
    if *tries >= TRIES.0 || !may_be_tried_again(&error) {
        return Err(error);
    }
    tracing::debug!(tries, error = error.report(), "trying again");
    *tries += 1;
    tokio::time::sleep(TRIES.1).await;
    Ok(())
}

fn may_be_tried_again(error: &Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<sqlx::Error>());
    cause.is_some_and(|cause| waited_too_long(cause) || lost_against_others(cause) || made_by_another(cause))
}

/// Begins a transaction that is alone in changing triggers, once there is a table to lock: the lock needs a right on
/// it. Of two that make that table at once, one fails and is tried again.
async fn begin<'a>(table: &'a PgTable, doing: &str) -> Result<Transaction<'a, Postgres>> {
    let begin = async {
        let mut transaction = table.pool.begin().await?;
        sqlx::query(LOCK_WITHIN).execute(&mut *transaction).await?;
        if exists(&mut transaction, table, "smache_feed").await? {
            let lock = format!("LOCK TABLE {}.smache_feed IN SHARE ROW EXCLUSIVE MODE", quoted(&table.schema));
            sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *transaction).await?;
        }
        Ok(transaction)
    };
    bounded(table.timeout, ErrorKind::Unavailable, doing, begin).await
}

async fn run(connection: &mut PgConnection, sql: String, doing: &str) -> Result<()> {
    let outcome = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    outcome.map(drop).map_err(|error| of_source(error, doing))
}

/// Migrates the tables of an older release, and refuses those of a newer one: calling `install` again upgrades, and
/// nothing goes back.
async fn migrate(connection: &mut PgConnection, table: &PgTable, doing: &str) -> Result<()> {
    let schema = quoted(&table.schema);
    if !exists(connection, table, "smache_feed").await.map_err(|error| of_source(error, doing))? {
        return Ok(());
    }
    // The first one had no column for it.
    let version = format!("SELECT coalesce((to_jsonb(f) ->> 'version')::bigint, 1) FROM {schema}.smache_feed f");
    let version = sqlx::query_scalar(AssertSqlSafe(version)).fetch_optional(&mut *connection).await;
    let Some(version) = version.map_err(|error| of_source(error, doing))? else { return Ok(()) };
    for step in steps_from(version, MIGRATIONS, &format!("the schema `{}`", table.schema))? {
        run(connection, filled(step, &[("schema", &schema)]), doing).await?;
    }
    Ok(())
}

async fn exists(connection: &mut PgConnection, table: &PgTable, relation: &str) -> sqlx::Result<bool> {
    let found = "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = $1 AND c.relname = $2)";
    sqlx::query_scalar(found).bind(&table.schema).bind(relation).fetch_one(connection).await
}

/// The functions that `install` makes, by their name after `smache_`.
fn bodies(schema: &str) -> [(&'static str, String); 3] {
    let texts = [
        ("record", include_str!("../queries/postgres_record.sql")),
        ("guard", include_str!("../queries/postgres_guard.sql")),
        ("revive", include_str!("../queries/postgres_revive.sql")),
    ];
    texts.map(|(name, text)| (name, filled(text, &[("schema", schema)])))
}

/// Whether everything is as this release makes it. A look without a lock: it does not hold up a writer of the table
/// where there is nothing to do.
async fn is_installed(connection: &mut PgConnection, table: &PgTable, doing: &str) -> Result<bool> {
    let schema = quoted(&table.schema);
    let failed = |error| of_source(error, doing);
    for relation in ["smache_feed", "smache_tables", "smache_changes", "smache_alive"] {
        if !exists(connection, table, relation).await.map_err(failed)? {
            return Ok(false);
        }
    }
    let sql = format!(
        "SELECT coalesce(to_jsonb(f) -> 'version' = to_jsonb({VERSION}) AND to_jsonb(f) -> 'oldest' = to_jsonb({OLDEST_SERVED})
             AND (SELECT bool_and(EXISTS (SELECT FROM pg_proc WHERE oid = to_regprocedure(b.name) AND prosrc = b.body))
                  FROM unnest($2::text[], $3::text[]) AS b (name, body))
             AND NOT pg_is_in_recovery() AND NOT ({}) AND ({}) AND {}, false)
         FROM {schema}.smache_feed f",
        filled(include_str!("../queries/postgres_elsewhere.sql"), &[("schema", &schema)]),
        intact_triggers(&table.schema),
        guarded(&table.schema)
    );
    let (names, bodies): (Vec<_>, Vec<_>) =
        bodies(&schema).into_iter().map(|(name, body)| (format!("{schema}.smache_{name}()"), body)).unzip();
    let query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(&table.name).bind(names).bind(bodies);
    Ok(query.fetch_optional(connection).await.map_err(failed)?.unwrap_or(false))
}

/// An expression for whether the triggers of the table `$1` are as they were made.
fn intact_triggers(schema: &str) -> String {
    let present = present_triggers(schema, "$1");
    let schema = quoted(schema);
    format!("coalesce((SELECT triggers FROM {schema}.smache_tables WHERE name = $1) = ({present}), false)")
}

/// An expression for whether the change table has its guards.
fn guarded(schema: &str) -> String {
    filled(include_str!("../queries/postgres_guarded.sql"), &[("changes", change_table(schema))])
}

/// Makes the triggers, unless they are as they were made.
pub(super) async fn install(table: &PgTable) -> Result<()> {
    let doing = table.doing("installing the triggers on");
    let mut connection = bounded(table.timeout, ErrorKind::Unavailable, &doing, table.pool.acquire()).await?;
    table.describe(&mut connection).await?;
    if is_installed(&mut connection, table, &doing).await? {
        return Ok(());
    }
    drop(connection);
    let mut tries = 1;
    while let Err(error) = make(table, &doing).await {
        pause(error, &mut tries).await?;
    }
    Ok(())
}

async fn make(table: &PgTable, doing: &str) -> Result<()> {
    let mut transaction = begin(table, doing).await?;
    migrate(&mut transaction, table, doing).await?;
    let schema = quoted(&table.schema);
    let qualified = table.qualified();
    let parts = bodies(&schema).map(|(name, body)| (name, escaped(&body)));
    let parts = [&parts[..], &[("schema", schema.clone())]].concat();
    run(&mut transaction, filled(include_str!("../queries/postgres_install.sql"), &parts), doing).await?;
    let is_guarded = sqlx::query_scalar(AssertSqlSafe(format!("SELECT {}", guarded(&table.schema))));
    let is_guarded: bool = is_guarded.fetch_one(&mut *transaction).await.map_err(|error| of_source(error, doing))?;
    if !is_guarded {
        let guards = filled(include_str!("../queries/postgres_guards.sql"), &[("schema", &schema)]);
        run(&mut transaction, guards, doing).await?;
    }
    let version = format!(
        "UPDATE {schema}.smache_feed SET version = {VERSION}, oldest = {OLDEST_SERVED} WHERE version <> {VERSION}"
    );
    run(&mut transaction, version, doing).await?;
    mend(&mut transaction, &schema, doing).await?;
    forget_others(&mut transaction, table, doing).await?;

    let intact = sqlx::query_scalar(AssertSqlSafe(format!("SELECT {}", intact_triggers(&table.schema))));
    let intact: bool =
        intact.bind(&table.name).fetch_one(&mut *transaction).await.map_err(|error| of_source(error, doing))?;
    if !intact {
        // From here on to the commit there is no writer: changes that the triggers do not record were committed before
        // the reset is. At once the lock that the statements need: two that hold a weaker one would wait for each
        // other.
        run(&mut transaction, format!("LOCK TABLE ONLY {qualified} IN ACCESS EXCLUSIVE MODE"), doing).await?;
        let argument = escaped(&table.name);
        // Always, because a replica of logical replication applies changes without the triggers otherwise.
        let triggers = format!(
            "DROP TRIGGER IF EXISTS smache_row ON {qualified};
            DROP TRIGGER IF EXISTS smache_truncate ON {qualified};
            CREATE TRIGGER smache_row AFTER INSERT OR UPDATE OR DELETE ON {qualified}
                FOR EACH ROW EXECUTE FUNCTION {schema}.smache_record({argument});
            CREATE TRIGGER smache_truncate AFTER TRUNCATE ON {qualified}
                FOR EACH STATEMENT EXECUTE FUNCTION {schema}.smache_record({argument});
            ALTER TABLE ONLY {qualified} ENABLE ALWAYS TRIGGER smache_row;
            ALTER TABLE ONLY {qualified} ENABLE ALWAYS TRIGGER smache_truncate;
            INSERT INTO {schema}.smache_tables (name, triggers) VALUES ({argument}, ({}))
                ON CONFLICT (name) DO UPDATE SET triggers = excluded.triggers;
            INSERT INTO {schema}.smache_changes (source, op) VALUES ({argument}, 'INSTALL');
            NOTIFY smache_changes;",
            present_triggers(&table.schema, &argument)
        );
        run(&mut transaction, triggers, doing).await?;
    }
    transaction.commit().await.map_err(|error| of_source(error, doing))
}

/// Begins a new history where the change table came from another server, by a dump: its numbers of transactions say
/// nothing here.
async fn mend(connection: &mut PgConnection, schema: &str, doing: &str) -> Result<()> {
    let elsewhere = filled(include_str!("../queries/postgres_elsewhere.sql"), &[("schema", schema)]);
    let sql = format!("SELECT {elsewhere} FROM {schema}.smache_feed f");
    let is_elsewhere: Option<bool> = sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| of_source(error, doing))?;
    if is_elsewhere == Some(true) {
        // In this order: the guard notes the numbers of the removed changes.
        let mend = format!(
            "DELETE FROM {schema}.smache_changes;
            UPDATE {schema}.smache_feed SET id = gen_random_uuid()::text, trimmed = '0';"
        );
        run(connection, mend, doing).await?;
    }
    Ok(())
}

/// The triggers of a table, and those that were made for it and went with a table that has another name by now.
const PRESENT: &str = "SELECT quote_ident(t.tgname), format('%I.%I', n.nspname, c.relname)
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE t.tgfoid = to_regprocedure($1) AND NOT t.tgisinternal AND (n.nspname = $2 AND c.relname = $3
        OR t.tgargs = convert_to($3, getdatabaseencoding()) || '\\x00'::bytea)";

/// Forgets the tables that have no triggers any more: they were dropped or renamed, and nothing else would remove their
/// rows.
async fn forget_others(connection: &mut PgConnection, table: &PgTable, doing: &str) -> Result<()> {
    let schema = quoted(&table.schema);
    let present = present_triggers(&table.schema, "s.name");
    run(connection, format!("DELETE FROM {schema}.smache_tables s WHERE ({present}) IS NULL"), doing).await
}

/// Removes the triggers, and with the last of them the tables and functions that they need.
pub(super) async fn uninstall(table: &PgTable) -> Result<()> {
    let doing = table.doing("removing the triggers from");
    let mut tries = 1;
    while let Err(error) = remove(table, &doing).await {
        pause(error, &mut tries).await?;
    }
    Ok(())
}

async fn remove(table: &PgTable, doing: &str) -> Result<()> {
    let mut transaction = begin(table, doing).await?;
    let failed = |error| of_source(error, doing);
    let schema = quoted(&table.schema);
    let record = format!("{schema}.smache_record()");
    let present = sqlx::query_as(PRESENT).bind(&record).bind(&table.schema).bind(&table.name);
    let present: Vec<(String, String)> = present.fetch_all(&mut *transaction).await.map_err(failed)?;
    for (trigger, on) in present {
        run(&mut transaction, format!("DROP TRIGGER IF EXISTS {trigger} ON {on}"), doing).await?;
    }
    if exists(&mut transaction, table, "smache_tables").await.map_err(failed)? {
        forget_others(&mut transaction, table, doing).await?;
        let last = format!(
            "SELECT NOT EXISTS (SELECT FROM {schema}.smache_tables)
                AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgfoid = to_regprocedure($1))"
        );
        let last = sqlx::query_scalar(AssertSqlSafe(last)).bind(&record).fetch_one(&mut *transaction).await;
        let last: bool = last.map_err(failed)?;
        if last {
            let drop = format!(
                "DROP TABLE IF EXISTS {schema}.smache_changes, {schema}.smache_tables, {schema}.smache_feed, {schema}.smache_alive;
                DROP FUNCTION IF EXISTS {schema}.smache_record(), {schema}.smache_guard(), {schema}.smache_revive();"
            );
            run(&mut transaction, drop, doing).await?;
        }
    }
    transaction.commit().await.map_err(|error| of_source(error, doing))
}

/// Why a feed cannot be read without its triggers, and what to do.
pub(super) fn missing(schema: &str, tables: &str) -> Error {
    let message = format!(
        "the triggers on `{tables}` in the schema `{schema}` are not there, or not as `install` made them: call `install` of \
         the source"
    );
    Error::new(ErrorKind::Config, message)
}

//! The triggers that record what changes.

use smache_core::{Error, ErrorKind, Result};
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Transaction};

use super::table::PgTable;
use crate::{
    error::{bounded, of_source},
    source::{
        name::{escaped, quoted},
        version::{OLDEST_SERVED, VERSION, steps_from},
    },
};

/// One installation at a time in a database: two that make the same table at once fail on each other.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('smache_changes', 0))";

/// A subquery for the marks of the present triggers of a table.
pub(super) fn present_triggers(schema: &str, table_name: &str) -> String {
    include_str!("../queries/postgres_triggers.sql")
        .replace("{schema_name}", &escaped(schema))
        .replace("{table_name}", table_name)
}

/// The ways from each version to the next, the first from 1 to 2.
const MIGRATIONS: &[&str] = &[include_str!("../queries/migrations/postgres_2.sql")];

/// Begins a transaction that is alone in changing triggers.
async fn begin<'a>(table: &'a PgTable, doing: &str) -> Result<Transaction<'a, Postgres>> {
    let begin = async {
        let mut transaction = table.pool.begin().await?;
        sqlx::query(LOCK).execute(&mut *transaction).await?;
        Ok(transaction)
    };
    bounded(table.timeout, ErrorKind::Unavailable, doing, begin).await
}

async fn run(connection: &mut PgConnection, sql: String, doing: &str) -> Result<()> {
    let outcome = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    outcome.map(drop).map_err(|error| of_source(error, doing))
}

/// Migrates what an older release has made, and refuses what a newer one has: whoever calls `install` again upgrades, and
/// nobody goes back.
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
        run(connection, step.replace("{schema}", &schema), doing).await?;
    }
    Ok(())
}

async fn exists(connection: &mut PgConnection, table: &PgTable, relation: &str) -> sqlx::Result<bool> {
    let found = "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = $1 AND c.relname = $2)";
    sqlx::query_scalar(found).bind(&table.schema).bind(relation).fetch_one(connection).await
}

/// Makes the triggers, unless they are as they were made.
pub(super) async fn install(table: &PgTable) -> Result<()> {
    let doing = table.doing("installing the triggers on");
    let mut transaction = begin(table, &doing).await?;
    table.describe(&mut transaction).await?;
    migrate(&mut transaction, table, &doing).await?;
    let (schema, qualified) = (quoted(&table.schema), table.qualified());
    let body = include_str!("../queries/postgres_record.sql").replace("{schema}", &schema);
    let tables = include_str!("../queries/postgres_install.sql").replace("{body}", &escaped(&body));
    run(&mut transaction, tables.replace("{schema}", &schema), &doing).await?;
    let version = format!(
        "UPDATE {schema}.smache_feed SET version = {VERSION}, oldest = {OLDEST_SERVED} WHERE version <> {VERSION}"
    );
    run(&mut transaction, version, &doing).await?;

    // Nobody writes from here on to the commit: what the triggers do not record was committed before the reset is.
    run(&mut transaction, format!("LOCK TABLE ONLY {qualified} IN SHARE ROW EXCLUSIVE MODE"), &doing).await?;
    let present = present_triggers(&table.schema, "$1");
    let intact =
        format!("SELECT coalesce((SELECT triggers FROM {schema}.smache_tables WHERE name = $1) = ({present}), false)");
    let intact: bool = sqlx::query_scalar(AssertSqlSafe(intact))
        .bind(&table.name)
        .fetch_one(&mut *transaction)
        .await
        .map_err(|error| of_source(error, &doing))?;
    if !intact {
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
        run(&mut transaction, triggers, &doing).await?;
    }
    transaction.commit().await.map_err(|error| of_source(error, &doing))
}

/// Removes the triggers, and what they need with the last of them.
pub(super) async fn uninstall(table: &PgTable) -> Result<()> {
    let doing = table.doing("removing the triggers from");
    let mut transaction = begin(table, &doing).await?;
    let failed = |error| of_source(error, &doing);
    let (schema, qualified) = (quoted(&table.schema), table.qualified());
    if exists(&mut transaction, table, &table.name).await.map_err(failed)? {
        let drop = format!(
            "DROP TRIGGER IF EXISTS smache_row ON {qualified}; DROP TRIGGER IF EXISTS smache_truncate ON {qualified};"
        );
        run(&mut transaction, drop, &doing).await?;
    }
    if exists(&mut transaction, table, "smache_tables").await.map_err(failed)? {
        run(
            &mut transaction,
            format!("DELETE FROM {schema}.smache_tables WHERE name = {}", escaped(&table.name)),
            &doing,
        )
        .await?;
        let last = format!("SELECT NOT EXISTS (SELECT FROM {schema}.smache_tables)");
        let last: bool = sqlx::query_scalar(AssertSqlSafe(last)).fetch_one(&mut *transaction).await.map_err(failed)?;
        if last {
            // A forgotten trigger of a renamed table still needs the function, and is better found now than by a writer.
            let drop = format!(
                "DROP FUNCTION IF EXISTS {schema}.smache_record();
                DROP TABLE IF EXISTS {schema}.smache_changes, {schema}.smache_tables, {schema}.smache_feed;"
            );
            run(&mut transaction, drop, &doing).await?;
        }
    }
    transaction.commit().await.map_err(|error| of_source(error, &doing))
}

/// Why a feed cannot be read without its triggers, and what to do.
pub(super) fn missing(schema: &str, tables: &str) -> Error {
    let message = format!(
        "the triggers on `{tables}` in the schema `{schema}` are not there, or not as `install` made them: call `install` of \
         the source"
    );
    Error::new(ErrorKind::Config, message)
}

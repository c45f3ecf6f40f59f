//! The triggers that record what changes.

use smache_core::{Error, ErrorKind, Result};
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Transaction};

use super::table::PgTable;
use crate::source::{
    error::{bounded, classify},
    name::{escaped, quoted},
};

/// One installation at a time in a database: two that make the same table at once fail on each other.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('smache_changes', 0))";

/// A subquery for the marks of the present triggers of a table.
pub(super) fn present_triggers(schema: &str, table_name: &str) -> String {
    include_str!("../queries/postgres_triggers.sql")
        .replace("{schema_name}", &escaped(schema))
        .replace("{table_name}", table_name)
}

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
    outcome.map(drop).map_err(|error| classify(error, doing))
}

/// Makes the triggers, unless they are as they were made.
pub(super) async fn install(table: &PgTable) -> Result<()> {
    let doing = table.doing("installing the triggers on");
    let mut transaction = begin(table, &doing).await?;
    table.describe(&mut transaction).await?;
    let (schema, qualified) = (quoted(&table.schema), table.qualified());
    let body = include_str!("../queries/postgres_record.sql").replace("{schema}", &schema);
    let tables = include_str!("../queries/postgres_install.sql").replace("{body}", &escaped(&body));
    run(&mut transaction, tables.replace("{schema}", &schema), &doing).await?;

    // Nobody writes from here on to the commit: what the triggers do not record was committed before the reset is.
    run(&mut transaction, format!("LOCK TABLE ONLY {qualified} IN SHARE ROW EXCLUSIVE MODE"), &doing).await?;
    let present = present_triggers(&table.schema, "$1");
    let intact =
        format!("SELECT coalesce((SELECT triggers FROM {schema}.smache_tables WHERE name = $1) = ({present}), false)");
    let intact: bool = sqlx::query_scalar(AssertSqlSafe(intact))
        .bind(&table.name)
        .fetch_one(&mut *transaction)
        .await
        .map_err(|error| classify(error, &doing))?;
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
    transaction.commit().await.map_err(|error| classify(error, &doing))
}

/// Removes the triggers, and what they need with the last of them.
pub(super) async fn uninstall(table: &PgTable) -> Result<()> {
    let doing = table.doing("removing the triggers from");
    let mut transaction = begin(table, &doing).await?;
    let exists = |relation: &str| {
        sqlx::query_scalar::<_, bool>(
            "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = $1 AND c.relname = $2)",
        )
        .bind(table.schema.clone())
        .bind(relation.to_owned())
    };
    let failed = |error| classify(error, &doing);
    let (schema, qualified) = (quoted(&table.schema), table.qualified());
    if exists(&table.name).fetch_one(&mut *transaction).await.map_err(failed)? {
        let drop = format!(
            "DROP TRIGGER IF EXISTS smache_row ON {qualified}; DROP TRIGGER IF EXISTS smache_truncate ON {qualified};"
        );
        run(&mut transaction, drop, &doing).await?;
    }
    if exists("smache_tables").fetch_one(&mut *transaction).await.map_err(failed)? {
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
    transaction.commit().await.map_err(|error| classify(error, &doing))
}

/// Why a feed cannot be read without its triggers, and what to do.
pub(super) fn missing(schema: &str, tables: &str) -> Error {
    let message = format!(
        "the triggers on `{tables}` in the schema `{schema}` are not there, or not as `install` made them: call `install` of \
         the source"
    );
    Error::new(ErrorKind::Config, message)
}

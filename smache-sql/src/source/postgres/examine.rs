//! A table's and its server's answers to `doctor`.

use smache_core::{ErrorKind, Examination, Finding, Guarantee, Incarnation, Result, Severity};
use sqlx::AssertSqlSafe;

use super::{feed::PgFeed, table::PgTable, triggers::change_table};
use crate::{
    error::{bounded, of_source},
    examine::postgres::{ASK, Server, deaf, is_heard},
};

/// Asks how transactions begin, and whether a store whose transactions report changes is beside the table.
const TRANSACTIONS: &str =
    "SELECT current_setting('default_transaction_isolation'), to_regprocedure('smache_incarnation()') IS NOT NULL";

/// Asks whether the triggers record every change of the table, and how long changes are kept. Without a feed every
/// writer reports its changes.
pub(super) async fn examine(table: &PgTable, feed: Option<&PgFeed>) -> Result<Examination> {
    let doing = table.doing("examining");
    let mut connection = bounded(table.timeout, ErrorKind::Unavailable, &doing, table.pool.acquire()).await?;
    let row = bounded(table.timeout, ErrorKind::Timeout, &doing, sqlx::query(ASK).fetch_one(&mut *connection)).await?;
    let server = Server::read(&row).map_err(|error| of_source(error, &doing))?;
    table.describe(&mut connection).await?;
    drop(connection);
    let what = format!("the table `{}.{}` of PostgreSQL {}", table.schema, table.name, server.version());
    let examination = server.judge(Examination::new(what), &table.pool.connect_options());
    let examination = examination.finding(server.is_standby(), || {
        let problem = "it is read from a standby, which is behind: results may be made of old data and called fresh";
        Finding::new(Severity::Danger, problem, "let the pool lead to the primary")
    });
    let Some(feed) = feed else { return examine_transactional(table, &doing, examination).await };
    // The feed itself says what it lacks. It delivers nothing then, and only reports of the application remain.
    if let Err(error) = feed.look(&table.name).await {
        let fix = match error.kind() {
            ErrorKind::Config => "call `install` of the source",
            ErrorKind::WrongServer | ErrorKind::Permission => "see the rights and versions that it needs",
            _ => "see whether the server runs and can be reached",
        };
        let finding = || Finding::new(Severity::Danger, error.message(), fix);
        return Ok(examination.guarantee(Guarantee::BestEffort).finding(true, finding));
    }
    let examination = examination.guarantee(Guarantee::ChangeFeed);
    let options = table.pool.connect_options();
    let pool = &table.pool;
    let notify =
        async |channel: String| sqlx::query("SELECT pg_notify($1, '')").bind(channel).execute(pool).await.map(drop);
    let heard = is_heard(&options, notify).await;
    let trims = trims(table, &doing).await?;
    Ok(examination
        .finding(heard == Some(false), || {
            deaf(Severity::Advice, "the feed looks for changes twice a second instead of at once")
        })
        .finding(!trims, || {
            let problem = "the role may not remove old changes, so that another one has to";
            Finding::new(Severity::Advice, problem, "grant it `DELETE` on `smache_changes`")
        }))
}

/// Whether the role may remove the changes that are older than the retention.
async fn trims(table: &PgTable, doing: &str) -> Result<bool> {
    let sql = format!("SELECT has_table_privilege({}, 'DELETE')", change_table(&table.schema));
    let query = sqlx::query_scalar(AssertSqlSafe(sql));
    bounded(table.timeout, ErrorKind::Timeout, doing, query.fetch_one(&table.pool)).await
}

/// A table whose writers report within their transactions.
async fn examine_transactional(table: &PgTable, doing: &str, examination: Examination) -> Result<Examination> {
    let asked = sqlx::query_as(TRANSACTIONS).fetch_one(&table.pool);
    let (isolation, neighbour): (String, bool) = bounded(table.timeout, ErrorKind::Timeout, doing, asked).await?;
    let blind = ["repeatable read", "serializable"].contains(&isolation.as_str());
    let examination = examination.guarantee(Guarantee::Exact).finding(blind, || {
        let problem =
            format!("the transactions of the pool are `{isolation}` by default: no report can be made in one");
        Finding::new(Severity::Warning, problem, "let writers begin theirs as `READ COMMITTED`")
    });
    if !neighbour {
        return Ok(examination);
    }
    let incarnation = sqlx::query_scalar("SELECT smache_incarnation()").fetch_one(&table.pool);
    let incarnation: String = bounded(table.timeout, ErrorKind::Timeout, doing, incarnation).await?;
    Ok(examination.beside(Incarnation::new(incarnation)))
}

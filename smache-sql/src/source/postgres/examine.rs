//! What a table says about itself when it is examined.

use smache_core::{ErrorKind, Examination, Finding, Guarantee, Incarnation, Result, Severity};

use super::table::PgTable;
use crate::source::error::bounded;

const SETTINGS: &str = "SELECT current_setting('server_version'), current_setting('default_transaction_isolation'), \
     pg_is_in_recovery(), to_regprocedure('smache_life()') IS NOT NULL";

/// A table whose changes a feed tells, or every writer within its transaction.
pub(super) async fn examine(table: &PgTable, transactional: bool) -> Result<Examination> {
    let doing = table.doing("examining");
    let settings = sqlx::query_as(SETTINGS).fetch_one(&table.pool);
    let (version, isolation, standby, neighbour): (String, String, bool, bool) =
        bounded(table.timeout, ErrorKind::Timeout, &doing, settings).await?;
    let version = version.split(' ').next().unwrap_or_default();
    let what = format!("the table `{}.{}` of PostgreSQL {version}", table.schema, table.name);
    let examination = Examination::new(what).finding(standby, || {
        let problem = "it is read from a standby, which is behind: results may be made of old data and called fresh";
        Finding::new(Severity::Danger, problem, "let the pool lead to the primary")
    });
    if !transactional {
        return Ok(examination.guarantee(Guarantee::ChangeFeed));
    }
    let blind = ["repeatable read", "serializable"].contains(&isolation.as_str());
    let examination = examination.guarantee(Guarantee::Exact).finding(blind, || {
        let problem =
            format!("the transactions of the pool are `{isolation}` by default: no report can be made in one");
        Finding::new(Severity::Warning, problem, "let writers begin theirs as `READ COMMITTED`")
    });
    if !neighbour {
        return Ok(examination);
    }
    let life = sqlx::query_scalar("SELECT smache_life()").fetch_one(&table.pool);
    let life: String = bounded(table.timeout, ErrorKind::Timeout, &doing, life).await?;
    Ok(examination.beside(Incarnation::new(life)))
}

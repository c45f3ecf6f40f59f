//! Whether a server can be used, and its tables.

use std::time::Duration;

use smache_core::Result;
use sqlx::{Connection, PgConnection, Row};

use super::link::Link;
use crate::error::{failed, wrong_server};

/// The version of the tables and functions that this crate knows.
const VERSION: i64 = 1;

/// The oldest server with all that the functions use.
const OLDEST: i32 = 130_000;

const SCHEMA: [&str; 7] = [
    include_str!("../../queries/postgres/schema.sql"),
    include_str!("../../queries/postgres/base.sql"),
    include_str!("../../queries/postgres/runs.sql"),
    include_str!("../../queries/postgres/invalidate.sql"),
    include_str!("../../queries/postgres/within.sql"),
    include_str!("../../queries/postgres/feeds.sql"),
    include_str!("../../queries/postgres/queue.sql"),
];

/// A commit that is acknowledged before it is on disk may be lost although the server lives on: nobody would notice.
const HANDSHAKE: &str = "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), \
     current_setting('default_transaction_read_only') = 'on', set_config('statement_timeout', $1, false), \
     set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' \
     ELSE current_setting('synchronous_commit') END, false)";

/// Sets how long the server lets a statement of this connection run.
pub(super) async fn set_statement_timeout(connection: &mut PgConnection, bound: Duration) -> Result<(), sqlx::Error> {
    let set = sqlx::query("SELECT set_config('statement_timeout', $1, false)").bind(setting(bound));
    set.execute(connection).await.map(drop)
}

/// A bound as the server reads it, in milliseconds.
fn setting(bound: Duration) -> String {
    bound.as_millis().clamp(1, i32::MAX as u128).to_string()
}

/// Asks a new connection what it talks to, and sets its bounds.
pub(super) async fn check_server(
    connection: &mut PgConnection,
    statement_timeout: Duration,
    server: &str,
) -> Result<()> {
    let asked = async {
        let row = sqlx::query(HANDSHAKE).bind(setting(statement_timeout)).fetch_one(connection).await?;
        Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
    };
    let (version, standby, read_only) = asked.await.map_err(|error| failed(error, server))?;
    judge(version, standby, read_only, server)
}

fn judge(version: i32, standby: bool, read_only: bool, server: &str) -> Result<()> {
    if version < OLDEST {
        let major = version / 10_000;
        return Err(wrong_server(
            format!("the server is PostgreSQL {major}: use {} or newer", OLDEST / 10_000),
            server,
        ));
    }
    if standby {
        return Err(wrong_server("the server is a standby: connect to the primary", server));
    }
    if read_only {
        let message = "the connection is read-only: switch `default_transaction_read_only` off for the role";
        return Err(wrong_server(message, server));
    }
    Ok(())
}

/// Makes the tables if they are missing, and checks their version.
pub(super) async fn prepare(link: &Link) -> Result<()> {
    let found = link.script(async |connection| find_or_make(connection).await).await?;
    match found {
        Found::Version(VERSION) => Ok(()),
        Found::Version(version) => {
            let fix = if version > VERSION { "upgrade this program" } else { "upgrade the programs that use it first" };
            let message = format!(
                "the tables `smache_*` are of version {version} and this program knows version {VERSION}: {fix}, \
                 or give it a schema of its own by `search_path`"
            );
            Err(wrong_server(message, &link.server))
        }
        Found::Unsafe => {
            let message = "`synchronous_commit` is off, so that the server may forget what it acknowledged: switch it on \
                           for the role or in the pool's options";
            Err(wrong_server(message, &link.server))
        }
    }
}

enum Found {
    Version(i64),
    Unsafe,
}

async fn find_or_make(connection: &mut PgConnection) -> Result<Found, sqlx::Error> {
    // A pool of the application has its own settings: they are checked, not changed.
    let setting: String =
        sqlx::query_scalar("SELECT current_setting('synchronous_commit')").fetch_one(&mut *connection).await?;
    if setting == "off" {
        return Ok(Found::Unsafe);
    }
    let mut work = connection.begin().await?;
    // Processes that start side by side make them one after the other.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('smache schema', 0))").execute(&mut *work).await?;
    let there: bool = sqlx::query_scalar("SELECT to_regclass('smache_meta') IS NOT NULL").fetch_one(&mut *work).await?;
    if !there {
        for script in SCHEMA {
            sqlx::raw_sql(script).execute(&mut *work).await?;
        }
        sqlx::query("INSERT INTO smache_meta VALUES ($1, encode(smache_random(), 'hex'))")
            .bind(VERSION)
            .execute(&mut *work)
            .await?;
    }
    let version = sqlx::query_scalar("SELECT version FROM smache_meta").fetch_one(&mut *work).await?;
    work.commit().await?;
    Ok(Found::Version(version))
}

#[cfg(test)]
mod tests {
    use smache_core::ErrorKind;

    use super::*;

    #[test]
    fn a_server_that_cannot_be_used_is_refused_with_the_reason() {
        assert!(judge(150_018, false, false, "localhost").is_ok());
        let table =
            [(120_001, false, false, "13"), (150_018, true, false, "primary"), (150_018, false, true, "read_only")];
        for (version, standby, read_only, reason) in table {
            let error = judge(version, standby, read_only, "localhost").expect_err(reason);
            assert_eq!(error.kind(), ErrorKind::WrongServer, "{reason}");
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
}

//! Whether a server can be used, and its tables.

use std::time::Duration;

use smache_core::Result;
use sqlx::{Connection, PgConnection, Row};

use super::link::Link;
use crate::{
    error::{failed, lost_against_others, made_by_another, waited_too_long, wrong_server},
    version::{RELEASE, not_migrated, refused},
};

/// The version of the tables and functions that this program knows.
///
/// It counts the functions as well: a release that changes a file of [`SCHEMA`] raises it, so that no program runs the
/// functions of an older one.
const VERSION: i64 = 5;

/// The oldest version of a program that goes on with these tables and functions if it runs while they are migrated.
/// Raised to [`VERSION`] when a column or a function that it uses is gone or means something else.
const OLDEST_SERVED: i64 = 5;

/// The oldest server with all that the functions use.
const OLDEST: i32 = 130_000;

/// The tables, then the functions, which are all made again by every migration.
const SCHEMA: [&str; 7] = [
    include_str!("../../queries/postgres/schema.sql"),
    include_str!("../../queries/postgres/base.sql"),
    include_str!("../../queries/postgres/runs.sql"),
    include_str!("../../queries/postgres/invalidate.sql"),
    include_str!("../../queries/postgres/in_transaction.sql"),
    include_str!("../../queries/postgres/feeds.sql"),
    include_str!("../../queries/postgres/queue.sql"),
];

/// The migrations from each version to the next, the first from 1 to 2: the changes of tables and types, and the
/// functions that are gone or have other arguments.
const MIGRATIONS: [&str; (VERSION - 1) as usize] = [
    include_str!("../../queries/postgres/migrations/2.sql"),
    include_str!("../../queries/postgres/migrations/3.sql"),
    include_str!("../../queries/postgres/migrations/4.sql"),
    include_str!("../../queries/postgres/migrations/5.sql"),
];

/// How long a migration may take, and wait for the steps that are under way.
const MIGRATION_BOUND: Duration = Duration::from_secs(600);

/// How long a migration waits for a table, with look-ups behind it. Shorter than the server's `deadlock_timeout` (1 s).
const LOCK_WITHIN: Duration = Duration::from_millis(500);

/// Locks every table of the schema that a step may read.
const LOCK_TABLES: &str = "DO $$ DECLARE name regclass; BEGIN \
     FOR name IN SELECT c.oid FROM pg_class c JOIN pg_class m ON m.relnamespace = c.relnamespace \
         WHERE m.oid = 'smache_meta'::regclass AND c.relkind = 'r' AND c.relname IN ('smache_namespaces', 'smache_sources', \
             'smache_entries', 'smache_edges', 'smache_runs', 'smache_changed', 'smache_jobs', 'smache_feeds') ORDER BY c.relname \
     LOOP EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', name); END LOOP; END $$";

/// How often a migration waits for that, and for how long it lets the look-ups pass in between.
const LOCK_TRIES: (u32, Duration) = (60, Duration::from_millis(500));

/// How often it is tried when it loses against steps.
const TRIES: u32 = 5;

const FOUND: &str = "SELECT version, to_jsonb(m) ->> 'made_by', to_jsonb(m) ->> 'functions' FROM smache_meta m";

/// Statements name tables without a schema: new objects go where the tables are, whatever comes first in the path.
const ENTER_SCHEMA: &str = "SELECT set_config('search_path', quote_ident(n.nspname) || ', ' || \
     current_setting('search_path'), true) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.oid = 'smache_meta'::regclass";

/// The functions see everything that was committed while they waited for a lock, which no other isolation than this
/// allows. And a commit that is acknowledged before it is on disk may be lost although the server lives on, with no
/// sign of the loss.
const HANDSHAKE: &str = "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), \
     current_setting('default_transaction_read_only') = 'on', set_config('statement_timeout', $1, false), \
     set_config('lock_timeout', $1, false), \
     set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' \
     ELSE current_setting('synchronous_commit') END, false), \
     set_config('default_transaction_isolation', 'read committed', false)";

/// Sets how long the server lets a statement of this connection run, and wait: without the latter the functions set
/// their own bound.
pub(super) async fn set_bounds(connection: &mut PgConnection, bound: Duration) -> Result<(), sqlx::Error> {
    let set = "SELECT set_config('statement_timeout', $1, false), set_config('lock_timeout', $1, false)";
    let set = sqlx::query(set).bind(setting(bound));
    set.execute(connection).await.map(drop)
}

/// A bound as the server reads it, in milliseconds.
fn setting(bound: Duration) -> String {
    bound.as_millis().clamp(1, i32::MAX as u128).to_string()
}

/// Checks the server behind a new connection, and sets the connection's bounds.
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

/// Makes the tables if they are missing, migrates them if they are older, and refuses them if they are newer.
pub(super) async fn prepare(link: &Link) -> Result<()> {
    let (mut tries, mut waits) = (1, 1);
    loop {
        // An error after this is known is one of the migration.
        let mut from = None;
        match link.script(async |connection| make_or_migrate(connection, &mut from).await).await? {
            Ok(found) => return found.judge(&link.server),
            // Steps that are under way hold the locks that the migration waits for, and the server may have ended it
            // for them.
            Err(error) if (lost_against_others(&error) || made_by_another(&error)) && tries < TRIES => tries += 1,
            Err(error) if waited_too_long(&error) && from.is_some() && waits < LOCK_TRIES.0 => {
                waits += 1;
                tokio::time::sleep(LOCK_TRIES.1).await;
            }
            Err(error) => {
                return Err(match from {
                    Some(version) => not_migrated(error, version, VERSION, &link.server),
                    None => failed(error, &link.server),
                });
            }
        }
    }
}

enum Found {
    Usable,
    Other { version: i64, made_by: Option<String> },
    Unsafe(&'static str),
}

impl Found {
    fn judge(self, server: &str) -> Result<()> {
        match self {
            Self::Usable => Ok(()),
            Self::Other { version, made_by } => {
                let elsewhere = "give it a schema of its own by `search_path`";
                Err(refused(version, made_by.as_deref(), VERSION, elsewhere, server))
            }
            Self::Unsafe(message) => Err(wrong_server(message, server)),
        }
    }
}

async fn make_or_migrate(connection: &mut PgConnection, from: &mut Option<i64>) -> Result<Found, sqlx::Error> {
    // A pool of the application has its own settings: they are checked, not changed.
    let (commits, isolation): (String, String) = sqlx::query_as(
        "SELECT current_setting('synchronous_commit'), current_setting('default_transaction_isolation')",
    )
    .fetch_one(&mut *connection)
    .await?;
    if commits == "off" {
        return Ok(Found::Unsafe(
            "`synchronous_commit` is off, so that the server may forget what it acknowledged: switch it on for the role or \
             in the pool's options",
        ));
    }
    if isolation != "read committed" {
        return Ok(Found::Unsafe(
            "`default_transaction_isolation` keeps steps from seeing what was committed while they waited: set it to `read \
             committed` for the role or in the pool's options",
        ));
    }
    let mut work = connection.begin().await?;
    // Of processes that start side by side one makes the tables: the others wait for its first one, and look again.
    let there: bool = sqlx::query_scalar("SELECT to_regclass('smache_meta') IS NOT NULL").fetch_one(&mut *work).await?;
    if there {
        match Tables::found(&mut work).await? {
            // Unlocks now: the next user of the connection would hold the lock until then.
            Tables { steps: Some(_), current: true, .. } => {
                work.rollback().await?;
                return Ok(Found::Usable);
            }
            Tables { steps: Some(_), version, .. } => *from = Some(version),
            Tables { steps: None, version, made_by, .. } => {
                work.rollback().await?;
                return Ok(Found::Other { version, made_by });
            }
        }
        lock(&mut work).await?;
        // Another process may have migrated them meanwhile.
        let tables = Tables::found(&mut work).await?;
        let Some(steps) = tables.steps else {
            work.rollback().await?;
            return Ok(Found::Other { version: tables.version, made_by: tables.made_by });
        };
        if tables.current {
            work.rollback().await?;
            return Ok(Found::Usable);
        }
        *from = Some(tables.version);
        migrate(&mut work, steps).await?;
    } else {
        for script in SCHEMA {
            sqlx::raw_sql(script).execute(&mut *work).await?;
        }
        sqlx::query("INSERT INTO smache_meta (version, incarnation) VALUES ($1, encode(smache_random(), 'hex'))")
            .bind(VERSION)
            .execute(&mut *work)
            .await?;
    }
    sqlx::query("UPDATE smache_meta SET version = $1, oldest = $2, made_by = $3, functions = $4")
        .bind(VERSION)
        .bind(OLDEST_SERVED)
        .bind(RELEASE)
        .bind(FUNCTIONS.to_string())
        .execute(&mut *work)
        .await?;
    work.commit().await?;
    Ok(Found::Usable)
}

/// The steps that lead from a version to the known one; `None` if none do.
fn steps_from(version: i64) -> Option<&'static [&'static str]> {
    MIGRATIONS.get(usize::try_from(version.checked_sub(1)?).ok()?..)
}

/// The tables that are there.
struct Tables {
    version: i64,
    made_by: Option<String>,
    /// Whether they are as this program makes them.
    current: bool,
    /// The migrations from that version to this one; `None` if there is no way.
    steps: Option<&'static [&'static str]>,
}

impl Tables {
    async fn found(work: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let row = sqlx::query(FOUND).fetch_one(work).await?;
        let version: i64 = row.try_get(0)?;
        let functions: Option<String> = row.try_get(2)?;
        let current = version == VERSION && functions.as_deref() == Some(FUNCTIONS.to_string().as_str());
        Ok(Self { version, made_by: row.try_get(1)?, current, steps: steps_from(version) })
    }
}

/// Locks the tables. Every function reads `smache_meta` before it does anything else: no step is in the middle of an
/// old function. Look-ups read other tables first, so those are locked as well, before the migration changes one. A
/// wait ends before the server looks for deadlocks: the migration gives way to a look-up, and tries again.
async fn lock(work: &mut PgConnection) -> Result<(), sqlx::Error> {
    set_bounds_locally(work, LOCK_WITHIN).await?;
    sqlx::query(ENTER_SCHEMA).execute(&mut *work).await?;
    sqlx::query("LOCK TABLE smache_meta IN ACCESS EXCLUSIVE MODE").execute(&mut *work).await?;
    sqlx::raw_sql(LOCK_TABLES).execute(&mut *work).await?;
    set_bounds_locally(work, MIGRATION_BOUND).await
}

/// Takes the steps and makes all functions again, in the transaction of the caller: an error or a crash changes
/// nothing.
async fn migrate(work: &mut PgConnection, steps: &[&'static str]) -> Result<(), sqlx::Error> {
    for script in steps.iter().chain(&SCHEMA[1..]) {
        sqlx::raw_sql(*script).execute(&mut *work).await?;
    }
    Ok(())
}

/// The usual bound is one for steps.
async fn set_bounds_locally(work: &mut PgConnection, waiting: Duration) -> Result<(), sqlx::Error> {
    let set = "SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $2, true)";
    let set = sqlx::query(set).bind(setting(MIGRATION_BOUND)).bind(setting(waiting));
    set.execute(work).await.map(drop)
}

/// Tells the functions of this program from those of other builds: two builds of one version may differ while it is
/// being developed, and then the one that connects last puts its functions in place.
const FUNCTIONS: u64 = fingerprint(&SCHEMA);

/// FNV-1a of texts.
const fn fingerprint(texts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut text = 1;
    while text < texts.len() {
        let bytes = texts[text].as_bytes();
        let mut place = 0;
        while place < bytes.len() {
            hash = (hash ^ bytes[place] as u64).wrapping_mul(0x0100_0000_01b3);
            place += 1;
        }
        text += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use smache_core::ErrorKind;

    use super::*;

    #[test]
    fn every_statement_names_the_version_of_this_program() {
        let named = format!("WHERE {VERSION} BETWEEN oldest AND version");
        for text in [
            name!(),
            include_str!("../../queries/postgres/lookup.sql"),
            include_str!("../../queries/postgres/read_record.sql"),
            include_str!("../../queries/postgres/changed_since.sql"),
        ] {
            assert!(text.contains(&named), "{text}");
        }
    }

    #[test]
    fn only_versions_from_which_steps_lead_here_are_migrated() {
        assert_eq!(steps_from(1).map(<[_]>::len), Some(MIGRATIONS.len()));
        assert_eq!(steps_from(VERSION), Some(&[][..]));
        for other in [VERSION + 1, 0, -1, i64::MIN, i64::MAX] {
            assert_eq!(steps_from(other), None, "{other}");
        }
    }

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

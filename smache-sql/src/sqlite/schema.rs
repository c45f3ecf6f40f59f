//! The tables of a file.

use smache_core::{Result, Token};
use sqlx::{Connection, SqliteConnection};

use super::link::Link;
use crate::version::{RELEASE, not_migrated, refused};

/// The version of the tables that this program knows.
pub(super) const VERSION: i64 = 3;

/// The oldest version of a program that goes on with these tables if it runs while they are migrated. Raised to
/// [`VERSION`] when a column that it uses is gone or means something else: the logic of the steps is in the program.
const OLDEST_SERVED: i64 = 3;

const SCHEMA: &str = include_str!("../../queries/sqlite/schema.sql");

/// The migrations from each version to the next, the first from 1 to 2.
const MIGRATIONS: [&str; (VERSION - 1) as usize] =
    [include_str!("../../queries/sqlite/migrations/2.sql"), include_str!("../../queries/sqlite/migrations/3.sql")];

/// Makes the tables if they are missing, migrates them if they are older, and refuses them if they are newer.
pub(super) async fn prepare(link: &Link) -> Result<()> {
    let mut writer = link.writer.lock().await;
    // An error after this is known is one of the migration.
    let mut from = None;
    match make_or_migrate(&mut writer, &mut from).await {
        Ok(None) => Ok(()),
        Ok(Some(Other { version, made_by })) => {
            Err(refused(version, made_by.as_deref(), VERSION, "use a file of its own", &link.place.file))
        }
        Err(error) => Err(match from {
            Some(version) => not_migrated(error, version, VERSION, &link.place.file),
            None => link.failed(error),
        }),
    }
}

/// Tables of a version that this program cannot use.
struct Other {
    version: i64,
    made_by: Option<String>,
}

async fn make_or_migrate(
    connection: &mut SqliteConnection,
    from: &mut Option<i64>,
) -> Result<Option<Other>, sqlx::Error> {
    // Also processes that start side by side make or migrate them once. An error or a crash leaves the file as it was.
    let mut work = connection.begin_with("BEGIN IMMEDIATE").await?;
    let there: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'smache_meta'")
        .fetch_one(&mut *work)
        .await?;
    if there > 0 {
        let version: i64 = sqlx::query_scalar("SELECT version FROM smache_meta").fetch_one(&mut *work).await?;
        if version == VERSION {
            // A transaction alone says nothing about a file that is read-only.
            sqlx::query("UPDATE smache_meta SET version = version").execute(&mut *work).await?;
            work.rollback().await?;
            return Ok(None);
        }
        let Some(steps) = steps_from(version) else {
            let made_by = sqlx::query_scalar("SELECT made_by FROM smache_meta").fetch_one(&mut *work).await;
            work.rollback().await?;
            // The oldest tables do not say it.
            return Ok(Some(Other { version, made_by: made_by.ok() }));
        };
        *from = Some(version);
        for script in steps {
            sqlx::raw_sql(*script).execute(&mut *work).await?;
        }
    } else {
        sqlx::raw_sql(SCHEMA).execute(&mut *work).await?;
        sqlx::query("INSERT INTO smache_meta (version, incarnation) VALUES ($1, $2)")
            .bind(VERSION)
            .bind(format!("sqlite-{}", Token::random()))
            .execute(&mut *work)
            .await?;
    }
    sqlx::query("UPDATE smache_meta SET version = $1, oldest = $2, made_by = $3")
        .bind(VERSION)
        .bind(OLDEST_SERVED)
        .bind(RELEASE)
        .execute(&mut *work)
        .await?;
    work.commit().await?;
    Ok(None)
}

/// The steps that lead from a version to the known one; `None` if none do.
fn steps_from(version: i64) -> Option<&'static [&'static str]> {
    MIGRATIONS.get(usize::try_from(version.checked_sub(1)?).ok()?..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_ups_name_the_version_of_this_program() {
        let named = format!("WHERE {VERSION} BETWEEN oldest AND version");
        for text in [
            include_str!("../../queries/sqlite/lookup.sql"),
            include_str!("../../queries/sqlite/read_record.sql"),
            include_str!("../../queries/sqlite/changed_since.sql"),
            include_str!("../../queries/sqlite/open.sql"),
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
}

//! A table's and its file's answers to `doctor`.

use smache_core::{ErrorKind, Examination, Finding, Guarantee, Result, Severity};
use sqlx::SqliteConnection;

use super::{
    table::LiteTable,
    triggers::{intact, meddling, version},
};
use crate::{
    error::{bounded, of_source},
    examine::sqlite::{File, file_system},
    source::version::VERSION,
    sqlite::incarnation_beside,
};

const ASK: &str =
    "SELECT j.journal_mode, s.synchronous, sqlite_version() FROM pragma_journal_mode j, pragma_synchronous s";

/// Asks whether the triggers record every change of the table, and how the file is kept. The writers of a transactional
/// source report their changes.
pub(super) async fn examine(table: &LiteTable, transactional: bool) -> Result<Examination> {
    let doing = table.doing("examining");
    let failed = |error| of_source(error, &doing);
    let mut connection = bounded(table.timeout, ErrorKind::Unavailable, &doing, table.pool.acquire()).await?;
    let asked = sqlx::query_as(ASK).fetch_one(&mut *connection);
    let (journal, synchronous, sqlite): (String, i64, String) =
        bounded(table.timeout, ErrorKind::Timeout, &doing, asked).await?;
    let path = table.pool.connect_options().get_filename().to_owned();
    let file = File { journal, synchronous, used: None, file_system: file_system(&path) };
    if transactional {
        let beside = bounded(table.timeout, ErrorKind::Timeout, &doing, incarnation_beside(&mut connection)).await?;
        let (place, incarnation) = beside;
        let what = format!("the table `{}` of the SQLite file {place}", table.name);
        let examination = file.judge(Examination::new(what).guarantee(Guarantee::Exact));
        return Ok(if let Some(incarnation) = incarnation { examination.beside(incarnation) } else { examination });
    }
    let description = table.describe(&mut connection).await?;
    let found = version(&mut connection).await.map_err(failed)?;
    let intact = intact(&mut connection, table, &description).await.map_err(failed)?;
    let meddling = meddling(&mut connection, &table.name).await.map_err(failed)?;
    let told = found == Some(VERSION) && intact;
    let in_memory = path.as_os_str() == ":memory:";
    let newer = found.is_some_and(|found| found > VERSION);
    let heard = told || newer && intact && serves(&mut connection).await.map_err(failed)?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let what = format!("the table `{}` of the file {name} of SQLite {sqlite}", table.name);
    // Where the feed delivers nothing, only reports of the application remain.
    let guarantee = if heard && !in_memory { Guarantee::ChangeFeed } else { Guarantee::BestEffort };
    let examination = Examination::new(what).guarantee(guarantee);
    Ok(file
        .judge(examination)
        .finding(in_memory, || {
            let problem = "the database is in memory, where every connection has another one: no change is told";
            Finding::new(Severity::Danger, problem, "use a file")
        })
        .finding(!newer && !told, || {
            let problem = "the triggers are not there, or not made for the present columns, or by an older release";
            Finding::new(Severity::Danger, problem, "call `install` of the source")
        })
        .finding(!meddling.is_empty(), || {
            let problem = format!(
                "the trigger `{}` writes to the table in the middle of other writes: what an `INSERT OR REPLACE` removes then is \
                 not told",
                meddling.join("`, `")
            );
            Finding::new(
                Severity::Warning,
                problem,
                "remove the trigger, write without `REPLACE`, or set `recursive_triggers` in all writers",
            )
        })
        .finding(newer, || {
            let problem = "the change table was migrated by a newer release";
            Finding::new(Severity::Warning, problem, "upgrade this program")
        }))
}

/// Whether a change table of a newer release still serves this one.
async fn serves(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    let serves = sqlx::query_scalar("SELECT oldest <= ?1 FROM smache_feed").bind(VERSION);
    Ok(serves.fetch_optional(connection).await?.unwrap_or(false))
}

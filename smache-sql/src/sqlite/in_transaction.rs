//! A transaction of the application that takes its invalidation along.

use std::{fmt, path::Path, sync::Arc};

use async_trait::async_trait;
use smache_core::{
    Error, ErrorKind, InTransactionOutcome, Incarnation, InvalidateInTransaction, JobWrites, Result, WriterTransaction,
};
use sqlx::{Connection, SqliteConnection};

use super::{clocks::clock_of, link::Place, step::Step};
use crate::{
    cells::time,
    error::{corrupt, wrong_server},
};

const FILE: &str = "SELECT file FROM pragma_database_list WHERE name = 'main'";
const TABLES: &str = "SELECT count(*) FROM main.sqlite_schema WHERE name = 'smache_namespaces'";
pub(super) const INCARNATION: &str = "SELECT incarnation FROM main.smache_meta";
const NAMESPACE: &str = "SELECT count(*) FROM smache_namespaces WHERE name = $1";

/// An open transaction on the file of a store, for [`Smache::in_transaction`](smache_core::Smache::in_transaction).
///
/// Data and store are the main database of the connection: a transaction over an attached file is not one step in WAL
/// mode. From its first change on it is the only writer of the file, as any transaction is, so that steps of the store
/// wait for it up to the busy timeout, and look-ups do not. Begin it with `BEGIN IMMEDIATE` unless it changes before it
/// reads. Its time is that of the store, where this process has it open, else this machine's. Waiting workers find its
/// jobs within 50 milliseconds.
///
/// ```no_run
/// # use smache_core::{EntityType, Smache};
/// # use smache_sql::{SqliteTransaction, sqlx};
/// # async fn rename<User: EntityType<Id = i64>>(smache: Smache, pool: sqlx::SqlitePool) -> Result<(), Box<dyn std::error::Error>> {
/// let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
/// sqlx::query("UPDATE users SET name = 'Johnny' WHERE id = 1").execute(&mut *tx).await?;
/// let report = smache.in_transaction(SqliteTransaction::new(&mut tx)).changed::<User>(&1).await?;
/// tx.commit().await?;
/// let token = report.committed().await; // for a read that must see this write: `call.at_least(token)`
/// # let _ = token;
/// # Ok(())
/// # }
/// ```
pub struct SqliteTransaction<'a> {
    connection: &'a mut SqliteConnection,
}

impl<'a> SqliteTransaction<'a> {
    /// The transaction that is open on a connection: a `&mut` of `sqlx`'s `Transaction`, or a connection on which a
    /// `BEGIN` was sent. A report on a connection without one is refused.
    #[must_use]
    pub fn new(connection: &'a mut SqliteConnection) -> Self {
        Self { connection }
    }

    /// Whether a transaction is open. The driver only knows of transactions that it has begun itself, but there cannot
    /// be two.
    async fn is_open(&mut self) -> Result<bool, sqlx::Error> {
        if self.connection.is_in_transaction() {
            return Ok(true);
        }
        if sqlx::raw_sql("BEGIN").execute(&mut *self.connection).await.is_err() {
            return Ok(true);
        }
        sqlx::raw_sql("ROLLBACK").execute(&mut *self.connection).await?;
        Ok(false)
    }

    async fn count(&mut self, sql: &'static str, name: Option<&str>) -> Result<i64, sqlx::Error> {
        let query = sqlx::query_scalar(sql);
        let query = if let Some(name) = name { query.bind(name.to_owned()) } else { query };
        query.fetch_one(&mut *self.connection).await
    }
}

/// The main file of a connection.
async fn place_of(connection: &mut SqliteConnection) -> Result<Place, sqlx::Error> {
    let file: Option<String> = sqlx::query_scalar(FILE).fetch_one(connection).await?;
    Ok(Place::of(Path::new(&file.unwrap_or_default())))
}

/// The incarnation of the store in the main file of a connection, if any; and the file.
pub(crate) async fn incarnation_beside(
    connection: &mut SqliteConnection,
) -> Result<(Arc<str>, Option<Incarnation>), sqlx::Error> {
    let Place { file, mark, .. } = place_of(connection).await?;
    let there: i64 = sqlx::query_scalar(TABLES).fetch_one(&mut *connection).await?;
    if there == 0 {
        return Ok((file, None));
    }
    let incarnation: String = sqlx::query_scalar(INCARNATION).fetch_one(connection).await?;
    Ok((file, Some(Incarnation::new(incarnation + &mark))))
}

#[async_trait]
impl WriterTransaction for SqliteTransaction<'_> {
    async fn invalidate(&mut self, request: InvalidateInTransaction) -> Result<InTransactionOutcome> {
        let unknown = "the connection of the transaction does not name its file";
        let place = place_of(&mut *self.connection).await.map_err(|error| corrupt(unknown).with_source(error))?;
        if !self.is_open().await.map_err(|error| place.failed(error))? {
            let message = "no transaction is open on the connection, so that the change and its report are not one step: \
                           `BEGIN` before the change, or call `changed` after it";
            return Err(Error::new(ErrorKind::Config, message).with_context("database", &place.file));
        }
        if self.count(TABLES, None).await.map_err(|error| place.failed(error))? == 0 {
            let message = "there is no store in the main file of the transaction: begin it on the file that was given to \
                           `Sqlite::open`, or call `changed` after the commit";
            return Err(wrong_server(message, &place.file));
        }
        let InvalidateInTransaction { namespace, incarnation, jobs, invalidation, .. } = &request;
        // One that is not there yet is made by others, as in any other store.
        if self.count(NAMESPACE, Some(namespace.as_str())).await.map_err(|error| place.failed(error))? == 0 {
            return Ok(InTransactionOutcome::OtherStore);
        }
        let now = time(clock_of(incarnation).now());
        let step = async {
            let step = Step::part_of(&mut *self.connection, &place, namespace.as_str(), now).await?;
            step.invalidate_within(incarnation, invalidation, *jobs == JobWrites::SameStep).await
        };
        let done = step.await.map_err(|error| match error.kind() {
            // Also one that has read before others wrote, and can never write any more.
            ErrorKind::Timeout => error.with_context("fix", "roll back, and begin again with `BEGIN IMMEDIATE`"),
            _ => error,
        })?;
        Ok(done.map_or(InTransactionOutcome::OtherStore, InTransactionOutcome::Invalidated))
    }
}

impl fmt::Debug for SqliteTransaction<'_> {
    // By hand, because the derived text of a connection is long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteTransaction").finish_non_exhaustive()
    }
}

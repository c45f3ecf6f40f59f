//! A step: one transaction, with the state of its namespace.

use std::sync::Arc;

use smache_core::{Epoch, Error, Incarnation, Result, Timestamp, Validity, support::log_damaged_state};
use sqlx::{Connection, Sqlite, SqliteConnection, Transaction, sqlite::SqliteRow};

use super::link::{Link, Place, Statement};
use crate::{
    cells::{Cells, count, number, timestamp, whole_count},
    error::{unexpected, wrong_server},
    record::{Head, Rows},
    version::MIGRATED,
};

/// One statement, and the rows of a look-up without entries. The first one also has where the walk over old epochs goes
/// on, the low watermark, the count of steps that added jobs, and the number of the namespace, which is null before its
/// first step.
const OPEN: &str = include_str!("../../queries/sqlite/open.sql");
const NS: usize = 12;
const MAKE_NAMESPACE: &str = "INSERT INTO smache_namespaces (name, epoch) VALUES ($1, $2)";
const HEAL: &str =
    "UPDATE smache_namespaces SET epoch = $2, sweep = x'', revision = $3, low_watermark = $3 WHERE ns = $1";
const FORGET_CHANGES: &str = "DELETE FROM smache_changed WHERE ns = $1";
const COUNT_ADDED: &str = "UPDATE smache_namespaces SET added = added + 1 WHERE ns = $1";

/// A transaction that writes, with the row of its namespace. Dropped before [`commit`](Self::commit), it never was.
pub(super) struct Step<'a> {
    work: Work<'a>,
    pub(super) place: &'a Place,
    pub(super) name: &'a str,
    pub(super) now: i64,
    pub(super) ns: i64,
    pub(super) incarnation: Incarnation,
    pub(super) validity: Arc<Validity>,
    pub(super) revision: u64,
    pub(super) low_watermark: u64,
    pub(super) added: i64,
    pub(super) sweep: Option<Vec<u8>>,
    notifies: bool,
}

/// The transaction of a step.
enum Work<'a> {
    /// The step's transaction, which the step ends.
    Own(Transaction<'a, Sqlite>, &'a Link),
    /// A transaction of the application, which ends it.
    Part(&'a mut SqliteConnection),
}

impl Work<'_> {
    fn connection(&mut self) -> &mut SqliteConnection {
        match self {
            Self::Own(work, _) => work,
            Self::Part(connection) => connection,
        }
    }

    async fn opened(&mut self, place: &Place, name: &str, now: i64) -> Result<Vec<SqliteRow>, sqlx::Error> {
        let query = sqlx::query(OPEN).bind(name.to_owned()).bind(now).bind(place.mark.clone());
        query.fetch_all(self.connection()).await
    }

    /// Replaces an epoch that cannot be read. A revision that is damaged, or cannot grow, goes on at the time, in
    /// microseconds, which no count of changes reaches, and under another epoch, in which no run compares with an earlier
    /// revision. Whether there was something to replace.
    async fn heal(&mut self, row: &SqliteRow, ns: i64, now: i64) -> Result<bool, sqlx::Error> {
        let cell = |place| row.int(place).map(Option::unwrap_or_default);
        let is_epoch = row.bytes(3)?.is_some_and(|epoch| epoch.len() == Epoch::LEN);
        let (revision, low_watermark) = (cell(8)?, cell(10)?);
        let counted = whole_count(revision);
        if is_epoch && counted.is_some() && (0..=revision).contains(&low_watermark) {
            return Ok(false);
        }
        log_damaged_state(ns, "the revision or the epoch of a namespace");
        let revision = counted.map_or(now.saturating_mul(1_000), number);
        let epoch = Epoch::random().as_bytes().to_vec();
        sqlx::query(HEAL).bind(ns).bind(epoch).bind(revision).execute(self.connection()).await?;
        sqlx::query(FORGET_CHANGES).bind(ns).execute(self.connection()).await?;
        Ok(true)
    }
}

impl<'a> Step<'a> {
    pub(super) async fn begin(
        link: &'a Link,
        connection: &'a mut SqliteConnection,
        name: &'a str,
        now: i64,
    ) -> Result<Self> {
        // SQLite refuses a transaction that reads first and then wants to write, if another one wrote in between.
        link.mend(connection).await?;
        link.place.check()?;
        let work = connection.begin_with("BEGIN IMMEDIATE").await.map_err(|error| link.failed(error))?;
        Self::open(Work::Own(work, link), &link.place, name, now).await
    }

    /// A step as a part of a transaction that is open on the connection.
    pub(super) async fn part_of(
        connection: &'a mut SqliteConnection,
        place: &'a Place,
        name: &'a str,
        now: i64,
    ) -> Result<Self> {
        Self::open(Work::Part(connection), place, name, now).await
    }

    async fn open(mut work: Work<'a>, place: &'a Place, name: &'a str, now: i64) -> Result<Self> {
        let failed = |error| place.failed(error);
        let mut rows = work.opened(place, name, now).await.map_err(failed)?;
        let row = rows.first().ok_or_else(|| unexpected("begin"))?;
        if row.text(1).map_err(failed)?.is_none() {
            return Err(wrong_server(MIGRATED, &place.file));
        }
        let changed = match row.int(NS).map_err(failed)? {
            Some(ns) => work.heal(row, ns, now).await.map_err(failed)?,
            None => {
                let epoch = Epoch::random().as_bytes().to_vec();
                let made = sqlx::query(MAKE_NAMESPACE).bind(name.to_owned()).bind(epoch);
                made.execute(work.connection()).await.map_err(failed)?;
                true
            }
        };
        if changed {
            rows = work.opened(place, name, now).await.map_err(failed)?;
        }
        let row = rows.first().ok_or_else(|| unexpected("begin"))?;
        let cell = |at| row.int(at).map(Option::unwrap_or_default).map_err(failed);
        let (ns, low_watermark, added) = (cell(NS)?, count(cell(10)?), cell(11)?);
        let sweep = row.bytes(4).map_err(failed)?;
        let head = Rows::read(&rows, &place.file)?.head.ok_or_else(|| unexpected("begin"))?;
        let Head { incarnation, validity, revision, .. } = head;
        let notifies = false;
        Ok(Self { work, place, name, now, ns, incarnation, validity, revision, low_watermark, added, sweep, notifies })
    }

    pub(super) fn time(&self) -> Timestamp {
        timestamp(self.now)
    }

    pub(super) fn failed(&self, error: sqlx::Error) -> Error {
        self.place.failed(error)
    }

    /// Runs a statement and says how many rows it changed.
    pub(super) async fn execute(
        &mut self,
        sql: &'static str,
        bind: impl FnOnce(Statement) -> Statement + Send,
    ) -> Result<u64> {
        let done = bind(sqlx::query(sql)).execute(self.work.connection()).await;
        done.map(|done| done.rows_affected()).map_err(|error| self.place.failed(error))
    }

    pub(super) async fn row(
        &mut self,
        sql: &'static str,
        bind: impl FnOnce(Statement) -> Statement + Send,
    ) -> Result<Option<SqliteRow>> {
        bind(sqlx::query(sql)).fetch_optional(self.work.connection()).await.map_err(|error| self.place.failed(error))
    }

    pub(super) async fn rows(
        &mut self,
        sql: &'static str,
        bind: impl FnOnce(Statement) -> Statement + Send,
    ) -> Result<Vec<SqliteRow>> {
        bind(sqlx::query(sql)).fetch_all(self.work.connection()).await.map_err(|error| self.place.failed(error))
    }

    /// Jobs were added: the end of the step wakes the waiting workers.
    pub(super) fn notify(&mut self) {
        self.notifies = true;
    }

    /// Ends the step; a step within a transaction of the application ends with that.
    pub(super) async fn commit(mut self) -> Result<()> {
        if self.notifies {
            let ns = self.ns;
            self.execute(COUNT_ADDED, |query| query.bind(ns)).await?;
        }
        if let Work::Own(work, link) = self.work {
            work.commit().await.map_err(|error| link.failed(error))?;
            link.place.check()?;
            if self.notifies {
                link.notifier(self.name).notify_waiters();
            }
        }
        Ok(())
    }
}

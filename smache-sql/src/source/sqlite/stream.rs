//! An open feed.

use std::{
    fmt,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use smache_core::{
    Batch, ChangeStream, Error, ErrorKind, Position, Result,
    support::limits::{CHANGES_A_BATCH, FEED_PATIENCE},
};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use super::{
    feed::{LiteFeed, Place},
    table::LiteTable,
    triggers::missing,
};
use crate::{
    error::{of_source, with_timeout},
    source::{
        TRIMMED_AT_ONCE,
        changes::{Recorded, Watched},
        version::check,
    },
};

/// How long the removal waits for a writer: changes wait for it meanwhile.
const TRIM_WITHIN: Duration = Duration::from_millis(100);

/// The changes of a database, read batch by batch.
pub(super) struct LiteStream {
    feed: LiteFeed,
    connection: SqliteConnection,
    watched: Watched<LiteTable>,
    place: Place,
    /// The version of the schema for which the triggers were looked at.
    checked: i64,
    /// The `data_version` of the connection, which grows when others write.
    version: i64,
    /// When old changes were last removed; none where there are more of them.
    trimmed: Option<Instant>,
    /// Whether it has returned its position once: until then its reader waits for just that.
    looked: bool,
    /// Whether the last read was full, and more may follow.
    more: bool,
}

type Row = (
    String,
    i64,
    Option<String>,
    i64,
    i64,
    i64,
    Option<i64>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
);

impl LiteStream {
    pub(super) async fn open(
        feed: LiteFeed,
        mut connection: SqliteConnection,
        watched: Watched<LiteTable>,
        place: Place,
    ) -> Result<Self> {
        let checked = feed.check_triggers(&mut connection, &watched).await?;
        let mut stream =
            Self { feed, connection, watched, place, checked, version: 0, trimmed: None, looked: false, more: false };
        // Fails at once where the history is lost. The next read finds the same changes again.
        stream.read().await?;
        Ok(stream)
    }

    /// Reads the rows after the place.
    async fn read(&mut self) -> Result<Vec<Row>> {
        let doing = self.feed.doing("reading");
        loop {
            let query = sqlx::query_as(include_str!("../queries/sqlite_read.sql"))
                .bind(self.place.row)
                .bind(CHANGES_A_BATCH as i64)
                .fetch_all(&mut self.connection);
            let read = async { query.await.map_err(|error| LiteFeed::failed(error, &doing)) };
            let rows: Vec<Row> = with_timeout(self.feed.timeout, ErrorKind::Unavailable, &doing, read).await?;
            let Some((history, trimmed, mark, fits, schema, given, ..)) = rows.first() else {
                return Err(missing("all tables"));
            };
            check(*fits, &format!("the database `{}`", self.feed.file))?;
            let is_here = *history == self.place.history && self.place.row >= *trimmed;
            if !is_here || mark.as_ref() != Some(&self.place.mark) || self.has_gap(&rows, *given) {
                let message = format!(
                    "{doing}: the history after the saved position was trimmed or removed, or is that of another database \
                     or of an older copy; a longer `retention` keeps it longer"
                );
                return Err(Error::new(ErrorKind::HistoryLost, message));
            }
            if *schema == self.checked {
                return Ok(rows);
            }
            // The rows are read once more, because the triggers may have changed after they were read.
            let check = self.feed.check_triggers(&mut self.connection, &self.watched);
            self.checked = with_timeout(self.feed.timeout, ErrorKind::Unavailable, &doing, check).await?;
        }
    }

    /// Whether rows after the place are missing. SQLite numbers rows one after the other, and uses a number again after
    /// a roll-back.
    fn has_gap(&self, rows: &[Row], given: i64) -> bool {
        let numbers = rows.iter().filter_map(|row| row.6);
        let last = numbers.clone().next_back().unwrap_or(self.place.row);
        let is_growing = numbers.zip(self.place.row + 1..).all(|(number, expected)| number == expected);
        !is_growing || last - self.place.row < CHANGES_A_BATCH as i64 && last < given
    }

    async fn data_version(&mut self) -> Result<i64> {
        let doing = self.feed.doing("reading");
        let query = sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut self.connection);
        let read = async { query.await.map_err(|error| of_source(error, &doing)) };
        with_timeout(self.feed.timeout, ErrorKind::Unavailable, &doing, read).await
    }

    /// Waits for the next write, but not for long.
    async fn wait(&mut self) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < FEED_PATIENCE && self.data_version().await? == self.version {
            tokio::time::sleep(self.feed.poll_interval).await;
        }
        Ok(())
    }

    /// The recorded changes after the place.
    async fn take(&mut self) -> Result<Batch> {
        self.feed.check_file()?;
        // Before the read: the read sees earlier commits and notices later ones.
        self.version = self.data_version().await?;
        let now = Instant::now();
        let rows = self.read().await?;
        let mut changes = Vec::new();
        let mut number = 0;
        for (.., row, table, before, after, mark) in rows {
            let (Some(row), Some(table), Some(mark)) = (row, table, mark) else { continue };
            changes.extend(self.watched.changes(&Recorded { table, before, after }));
            self.place.row = row;
            self.place.mark = mark;
            number += 1;
        }
        self.more = number >= CHANGES_A_BATCH;
        Ok(Batch::new(changes, self.place.position(), (!self.more).then_some(now)))
    }

    /// Trims, by time: under a constant load there is always something to read.
    async fn trim(&mut self) {
        let pause = (self.feed.retention / 4).clamp(Duration::from_millis(100), Duration::from_secs(60));
        if self.trimmed.is_none_or(|trimmed| trimmed.elapsed() >= pause) {
            self.trimmed = Some(Instant::now());
            match self.remove_portion().await {
                Ok(true) => self.trimmed = None,
                Ok(false) => {}
                Err(error) => {
                    let error = of_source(error, &self.feed.doing("trimming"));
                    self.mend().await;
                    tracing::warn!(feed = ?self.feed, error = error.report(), "old changes cannot be removed");
                }
            }
        }
    }

    /// A full disk ends a transaction without the driver's knowing it, and no other one can be begun on the connection.
    async fn mend(&mut self) {
        if self.connection.ping().await.is_err() || self.connection.is_in_transaction() {
            match self.feed.connect().await {
                Ok(connection) => self.connection = connection,
                Err(error) => tracing::debug!(feed = ?self.feed, error = error.report(), "it cannot be opened again"),
            }
        }
    }

    /// Removes a portion of the old changes. Returns whether there is more.
    async fn remove_portion(&mut self) -> sqlx::Result<bool> {
        // First a look without a lock, since mostly there is nothing to do.
        if !self.has_old().await? {
            return Ok(false);
        }
        let patience: i64 = sqlx::query_scalar("PRAGMA busy_timeout").fetch_one(&mut self.connection).await?;
        self.set_patience(patience.min(TRIM_WITHIN.as_millis() as i64)).await?;
        let removed = self.remove_old().await;
        self.set_patience(patience).await?;
        removed?;
        self.has_old().await
    }

    async fn set_patience(&mut self, milliseconds: i64) -> sqlx::Result<()> {
        let pragma = AssertSqlSafe(format!("PRAGMA busy_timeout = {milliseconds}"));
        sqlx::query(pragma).execute(&mut self.connection).await.map(drop)
    }

    fn age(&self) -> i64 {
        i64::try_from(self.feed.retention.as_millis()).unwrap_or(i64::MAX)
    }

    async fn has_old(&mut self) -> sqlx::Result<bool> {
        let old = "SELECT EXISTS (SELECT 1 FROM smache_changes
                   WHERE seq = (SELECT min(seq) FROM smache_changes) AND seq <= ?2
                     AND at < CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) - ?1)";
        sqlx::query_scalar(old).bind(self.age()).bind(self.place.row).fetch_one(&mut self.connection).await
    }

    async fn remove_old(&mut self) -> sqlx::Result<()> {
        let age = self.age();
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        let watermark = sqlx::query(include_str!("../queries/sqlite_trim.sql"));
        watermark.bind(age).bind(self.place.row).bind(TRIMMED_AT_ONCE).execute(&mut *transaction).await?;
        let delete = "DELETE FROM smache_changes WHERE seq <= (SELECT trimmed FROM smache_feed)";
        sqlx::query(delete).execute(&mut *transaction).await?;
        transaction.commit().await
    }
}

#[async_trait]
impl ChangeStream for LiteStream {
    fn position(&self) -> Position {
        self.place.position()
    }

    async fn next(&mut self) -> Result<Batch> {
        self.trim().await;
        let batch = self.take().await?;
        if self.more || !batch.changes.is_empty() || !std::mem::replace(&mut self.looked, true) {
            return Ok(batch);
        }
        self.wait().await?;
        self.take().await
    }
}

impl fmt::Debug for LiteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiteStream")
            .field("feed", &self.feed)
            .field("place", &self.place)
            .field("more", &self.more)
            .finish_non_exhaustive()
    }
}

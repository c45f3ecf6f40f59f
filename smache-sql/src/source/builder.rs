//! The options of a source.

use std::{fmt, marker::PhantomData, time::Duration};

use serde::de::DeserializeOwned;
use smache_core::{
    EntityType, FeedId,
    support::limits::{FEED_PATIENCE, SOURCE_TIMEOUT},
};

use super::{dialect::Dialect, table_source::TableSource};

/// How long changes are kept for feeds that are away, unless the builder says otherwise: over a night.
const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// A [`TableSource`] in the making, as [`TableSource::builder`] returns it.
#[must_use = "a builder does nothing until `build`"]
pub struct TableSourceBuilder<T, D: Dialect> {
    pub(super) pool: D::Pool,
    pub(super) schema: String,
    pub(super) table: String,
    pub(super) id_columns: Option<Vec<String>>,
    pub(super) feed: Option<FeedId>,
    pub(super) timeout: Duration,
    pub(super) poll_interval: Duration,
    pub(super) retention: Duration,
    pub(super) transactional: bool,
    entity: PhantomData<fn() -> T>,
}

impl<T: EntityType + DeserializeOwned, D: Dialect> TableSourceBuilder<T, D> {
    pub(super) fn new(pool: &D::Pool, table: String) -> Self {
        Self {
            pool: pool.clone(),
            schema: D::SCHEMA.to_owned(),
            table,
            id_columns: None,
            feed: None,
            timeout: SOURCE_TIMEOUT,
            poll_interval: D::POLL_INTERVAL,
            retention: RETENTION,
            transactional: false,
            entity: PhantomData,
        }
    }

    /// The column that names the rows, the primary key by default. It needs a unique index on it alone.
    pub fn id_column(mut self, column: impl Into<String>) -> Self {
        self.id_columns = Some(vec![column.into()]);
        self
    }

    /// The columns that together name the rows, the primary key by default. They need a unique index on just these
    /// columns. The id of the entity is a tuple in the order in which they are named here, or a struct of fields with
    /// their names.
    pub fn id_columns<C: Into<String>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.id_columns = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    /// The persisted name of the feed. By default it is `sqlite:` and the name of the file, or `postgres:` and the name
    /// of the database, and after a `/` that of the schema unless it is `public`.
    ///
    /// Sources of one SQLite file, or of one schema of PostgreSQL, share one feed under this name. Name it when one
    /// namespace watches two files of the same name, or databases of the same name on two servers; every source of the
    /// same file or schema must then get the same name.
    pub fn feed(mut self, feed: FeedId) -> Self {
        self.feed = Some(feed);
        self
    }

    /// The bound of a load and of every other step but those of listing and finding; 10 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How often the feed looks for changes, 500 ms at the most. By default it looks into a SQLite file every 20 ms, which
    /// reads one number, and into PostgreSQL every 500 ms while it hears of no change.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval.clamp(Duration::from_millis(1), FEED_PATIENCE);
        self
    }

    /// How long recorded changes are kept, a day by default: a feed that has not run for longer than that has lost its
    /// history, and everything from it goes stale. The feed that is opened first in a process decides for all sources
    /// that share it.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Promises that every writer of the table reports its changes within its transaction, by
    /// [`Smache::in_transaction`](smache_core::Smache::in_transaction), in the file or database that also holds the
    /// store.
    ///
    /// The source then has no feed and needs no triggers, and no result is behind its data for a moment. A change that
    /// is not reported so, for example by hand, is not known. [`doctor`](smache_core::inspect::Inspector::doctor) says
    /// whether the store is in the same file or database.
    pub fn transactional(mut self) -> Self {
        self.transactional = true;
        self
    }

    /// The source. Opens nothing.
    #[must_use]
    pub fn build(self) -> TableSource<T, D> {
        TableSource::from_builder(&self)
    }
}

impl<T, D: Dialect> fmt::Debug for TableSourceBuilder<T, D> {
    // By hand, because a pool shows the options of its connections.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableSourceBuilder")
            .field("schema", &self.schema)
            .field("table", &self.table)
            .field("id_columns", &self.id_columns)
            .field("feed", &self.feed)
            .field("timeout", &self.timeout)
            .field("poll_interval", &self.poll_interval)
            .field("retention", &self.retention)
            .field("transactional", &self.transactional)
            .finish_non_exhaustive()
    }
}

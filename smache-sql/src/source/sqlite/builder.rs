//! The options of a source.

use std::{fmt, marker::PhantomData, time::Duration};

use serde::de::DeserializeOwned;
use smache_core::{
    EntityType, FeedId,
    support::limits::{FEED_PATIENCE, SOURCE_TIMEOUT},
};
use sqlx::SqlitePool;

use super::SqliteSource;
use crate::source::RETENTION;

/// A [`SqliteSource`] in the making.
#[must_use = "a builder does nothing until `build`"]
pub struct SqliteSourceBuilder<T> {
    pub(super) pool: SqlitePool,
    pub(super) table: String,
    pub(super) id_columns: Option<Vec<String>>,
    pub(super) feed: Option<FeedId>,
    pub(super) timeout: Duration,
    pub(super) poll_interval: Duration,
    pub(super) retention: Duration,
    pub(super) transactional: bool,
    entity: PhantomData<fn() -> T>,
}

impl<T: EntityType + DeserializeOwned> SqliteSourceBuilder<T> {
    pub(super) fn new(pool: &SqlitePool, table: String) -> Self {
        Self {
            pool: pool.clone(),
            table,
            id_columns: None,
            feed: None,
            timeout: SOURCE_TIMEOUT,
            poll_interval: Duration::from_millis(20),
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

    /// The persisted name of the feed, `sqlite:` and the name of the file by default.
    ///
    /// Sources of one database share one feed under this name. Name it when one namespace watches two files of the same
    /// name; every source of the same file must then get the same name.
    pub fn feed(mut self, feed: FeedId) -> Self {
        self.feed = Some(feed);
        self
    }

    /// The bound of a load and of every other step but those of listing and finding; 10 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How often the feed looks for new writes, 20 ms by default, 500 ms at the most. A look reads one number.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval.clamp(Duration::from_millis(1), FEED_PATIENCE);
        self
    }

    /// How long recorded changes are kept, a day by default: a feed that has not run for longer than that has lost its
    /// history, and everything from it goes stale. The feed that is opened first in a process decides for all sources
    /// of the database.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Promises that every writer of the table reports its changes within its transaction, by
    /// [`Smache::in_transaction`](smache_core::Smache::in_transaction), in the file that also holds the store.
    ///
    /// The source then has no feed and needs no triggers, and no result is behind its data for a moment. A change that
    /// is not reported so, for example by hand, is not known. [`doctor`](smache_core::inspect::Inspector::doctor) says
    /// whether the store is in the same file.
    pub fn transactional(mut self) -> Self {
        self.transactional = true;
        self
    }

    /// The source. Opens nothing.
    #[must_use]
    pub fn build(self) -> SqliteSource<T> {
        SqliteSource::from_builder(self)
    }
}

impl<T> fmt::Debug for SqliteSourceBuilder<T> {
    // By hand, because a pool shows the options of its connections.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteSourceBuilder")
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

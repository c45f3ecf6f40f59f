//! The parts of a source that differ from one kind of database to the next. Everything else is written once.
//!
//! These are `pub` because they are in the signatures of [`TableSource`](super::TableSource), and in a private module,
//! so that no other crate can name or implement them.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;
use smache_core::{ChangeFeed, Comparisons, EntityKey, Error, ErrorKind, Examination, Result, SourceId};

use super::{builder::TableSourceBuilder, row::Shape};

/// A table of one kind of database, whose triggers record its changes.
#[async_trait]
pub trait Dialect: fmt::Debug + Send + Sync + Sized + 'static {
    /// The connections to the database.
    type Pool: Clone + Send + Sync;
    /// The change table as a feed, shared by all sources beside it.
    type Feed: ChangeFeed;

    /// The schema of a table unless the builder names one.
    const SCHEMA: &'static str;
    /// How often a feed looks for changes unless the builder says otherwise.
    const POLL_INTERVAL: Duration;

    /// The table of a source. Opens nothing.
    fn of<T>(builder: &TableSourceBuilder<T, Self>) -> Self;

    /// The feed of a source. Opens nothing.
    fn feed_of<T>(builder: &TableSourceBuilder<T, Self>) -> Self::Feed;

    /// The name of the table.
    fn name(&self) -> &str;

    /// The rows with the ids of some keys, in any order, and maybe others.
    async fn by_ids(&self, ids: Ids<'_>) -> Result<Rows>;

    /// The rows whose columns have some values, or all; maybe others, since the caller compares them again.
    async fn equal(&self, values: &[(&'static str, Value)], source: &SourceId, what: &str) -> Result<Rows>;

    /// How the values of its columns are compared, as they are now.
    async fn comparisons(&self) -> Result<Comparisons>;

    /// Makes the triggers, unless they are as they should be.
    async fn install(&self) -> Result<()>;

    /// Removes the triggers, and with the last of them all that they need.
    async fn uninstall(&self) -> Result<()>;

    /// The answers to `doctor`. Without a feed every writer reports its changes.
    async fn examine(&self, feed: Option<&Self::Feed>) -> Result<Examination>;
}

/// Rows, each as JSON, and how they are read.
pub(crate) type Rows = (Arc<Shape>, Vec<String>);

/// The keys to look for.
#[derive(Debug, Clone, Copy)]
pub struct Ids<'a> {
    pub(crate) keys: &'a [EntityKey],
    /// The values of a key, one for each column of the id.
    pub(crate) scalars: fn(&EntityKey, &[String]) -> Result<Vec<Value>>,
}

/// The error for a table without a primary key whose source names no id columns.
pub(crate) fn no_primary_key(table: &str) -> Error {
    let message = format!("the table `{table}` has no primary key: name a unique column with `id_column`");
    Error::new(ErrorKind::Config, message)
}

/// The error for an id column that is not there.
pub(crate) fn no_id_column(table: &str, column: &str) -> Error {
    Error::new(ErrorKind::Config, format!("the table `{table}` has no column `{column}` for its ids"))
}

/// The named id columns, if a unique index has just these.
pub(crate) fn unique_ids(table: &str, named: &[String], unique: bool) -> Result<Vec<String>> {
    let message = match named {
        _ if unique => return Ok(named.to_vec()),
        [column] => format!("the id column `{column}` of the table `{table}` has no unique index of its own"),
        _ => {
            let columns = named.join("`, `");
            format!("the id columns `{columns}` of the table `{table}` have no unique index of their own")
        }
    };
    Err(Error::new(ErrorKind::Config, message))
}

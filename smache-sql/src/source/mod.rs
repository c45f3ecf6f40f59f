//! Tables as sources of entities, with triggers that record their changes as the feed.

mod builder;
mod cell;
mod changes;
mod comparison;
mod dialect;
#[cfg(test)]
mod fuzz;
mod name;
mod row;
mod table_source;
mod version;

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

/// How many old changes one statement removes at the most: writers wait for it.
const TRIMMED_AT_ONCE: i64 = 10_000;

#[cfg(feature = "postgres")]
pub use self::postgres::{PostgresSource, PostgresSourceBuilder};
#[cfg(feature = "sqlite")]
pub use self::sqlite::{SqliteSource, SqliteSourceBuilder};
pub use self::{builder::TableSourceBuilder, table_source::TableSource};

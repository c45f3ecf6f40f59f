//! Tables as sources of entities, with triggers that record their changes as the feed.

use std::time::Duration;

mod cell;
mod changes;
mod comparison;
#[cfg(test)]
mod fuzz;
mod name;
mod row;
mod version;

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

/// How many ids one query asks for.
const IDS_A_QUERY: usize = 1_000;

/// How many old changes one statement removes at the most: writers wait for it.
const TRIMMED_AT_ONCE: i64 = 10_000;

/// How long changes are kept for feeds that are away, unless the builder says otherwise: over a night.
const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// Without a feed that reads them, triggers are of no use.
fn needs_no_triggers(source: &str) -> smache_core::Error {
    let fix = "leave `install` out, or build it without `transactional`";
    let message = format!("the source `{source}` is transactional and needs no triggers: {fix}");
    smache_core::Error::new(smache_core::ErrorKind::Config, message)
}

#[cfg(feature = "postgres")]
pub use self::postgres::{PostgresSource, PostgresSourceBuilder};
#[cfg(feature = "sqlite")]
pub use self::sqlite::{SqliteSource, SqliteSourceBuilder};

//! Tables as sources of entities, with triggers that record their changes as the feed.

mod cell;
mod changes;
mod comparison;
mod name;
mod row;
mod version;

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

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

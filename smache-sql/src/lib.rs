//! The SQL backends of SMache: tables of SQLite and PostgreSQL as sources of entities, with triggers that record changes.
//!
//! The [guide](source) says what they need and what they promise.

pub mod source;

#[cfg(feature = "postgres")]
pub use self::source::{PostgresSource, PostgresSourceBuilder};
#[cfg(feature = "sqlite")]
pub use self::source::{SqliteSource, SqliteSourceBuilder};

/// The SQL toolkit, in the version whose pools this crate takes.
pub use sqlx;

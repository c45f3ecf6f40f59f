#![doc = include_str!("guide.md")]

mod changes;
mod error;
mod name;
mod row;

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "postgres")]
pub use self::postgres::{PostgresSource, PostgresSourceBuilder};
#[cfg(feature = "sqlite")]
pub use self::sqlite::{SqliteSource, SqliteSourceBuilder};

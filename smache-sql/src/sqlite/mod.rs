//! SQLite: every step is one transaction on the one connection of the process that writes.

mod clocks;
mod config;
mod examine;
mod jobs;
mod link;
mod queue;
mod schema;
mod store;
mod within;

pub(crate) use self::within::life_beside;
pub use self::{
    config::{Sqlite, SqliteBuilder},
    queue::SqliteQueue,
    store::SqliteStore,
    within::SqliteTransaction,
};

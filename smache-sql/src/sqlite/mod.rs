//! SQLite: every step is one transaction on the one connection of the process that writes.

mod clocks;
mod config;
mod examine;
mod in_transaction;
mod jobs;
mod link;
mod queue;
mod schema;
mod step;
mod store;

pub(crate) use self::in_transaction::incarnation_beside;
pub use self::{
    config::{Sqlite, SqliteBuilder},
    in_transaction::SqliteTransaction,
    queue::SqliteQueue,
    store::SqliteStore,
};

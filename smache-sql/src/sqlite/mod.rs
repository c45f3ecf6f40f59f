//! SQLite: every step is one transaction on the one connection of the process that writes.

mod config;
mod jobs;
mod link;
mod queue;
mod schema;
mod store;

pub use self::{
    config::{Sqlite, SqliteBuilder},
    queue::SqliteQueue,
    store::SqliteStore,
};

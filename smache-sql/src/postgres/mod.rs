//! PostgreSQL: every step is one call of a function in the database, so one round trip and one transaction.

mod bell;
mod config;
mod link;
mod queue;
mod schema;
mod store;
mod within;

pub use self::{
    config::{Postgres, PostgresBuilder},
    queue::PostgresQueue,
    store::PostgresStore,
    within::PostgresTransaction,
};

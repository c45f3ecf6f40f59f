//! PostgreSQL: every step is one call of a function in the database, so one round trip and one transaction.

/// The name of the namespace, as the first argument of every step: null where the tables no longer serve programs of
/// this version, and then there is no step. It is part of the statement, so it costs no round trip; and the statement
/// holds the row's table, so no migration begins before the step is over.
macro_rules! name {
    () => {
        "(SELECT $1::text FROM smache_meta WHERE 5 BETWEEN oldest AND version)"
    };
}

mod config;
mod examine;
mod in_transaction;
mod link;
mod notifier;
mod queue;
mod schema;
mod store;

pub use self::{
    config::{Postgres, PostgresBuilder},
    in_transaction::PostgresTransaction,
    queue::PostgresQueue,
    store::PostgresStore,
};

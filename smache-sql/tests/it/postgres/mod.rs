//! PostgreSQL.

mod conformance;
pub(super) mod connect;
mod cost;
mod doctor;
mod held;
mod in_transaction;
mod incarnation;
mod migrate;
mod proxy;
mod restored;
mod rights;
mod trouble;

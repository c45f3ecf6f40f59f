//! PostgreSQL.

mod conformance;
pub(super) mod connect;
mod cost;
mod doctor;
mod held;
mod life;
mod migrate;
mod proxy;
mod restored;
mod rights;
mod trouble;
mod within;

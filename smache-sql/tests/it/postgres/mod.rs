//! PostgreSQL.

mod conformance;
mod connect;
mod cost;
mod doctor;
mod held;
mod life;
mod migrate;
mod proxy;
mod trouble;
mod within;

//! PostgreSQL.

mod conformance;
mod connect;
mod life;
mod within;

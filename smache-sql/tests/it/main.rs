//! The SQL backends on real databases: the contract, and what is special about these backends.

mod damaged;
mod postgres;
mod sqlite;
mod support;
mod users;

//! The backend on key-value stores of several kinds.

// The store of the example uses the facade, which depends on this crate and not the other way round: here are the two
// modules of it that the store names.
extern crate self as smache;
pub use smache_core as backend;
pub use smache_kv as kv;

mod broken;
mod conformance;
mod counts;
mod damage;
mod fuzz;
mod layout;
mod limits;
mod log;
#[path = "../../../examples/custom_backend/log_store.rs"]
mod log_store;
#[path = "../../../tests/it/logged.rs"]
mod logged;
mod mvcc;
mod paused;
mod redb_store;
mod steps;
mod tree;
mod turns;

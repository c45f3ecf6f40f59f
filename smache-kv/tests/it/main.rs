//! The backend on key-value stores of several kinds.

mod conformance;
mod log;
#[path = "../../../examples/custom_backend/log_store.rs"]
mod log_store;
mod redb_store;
mod steps;
mod tree;

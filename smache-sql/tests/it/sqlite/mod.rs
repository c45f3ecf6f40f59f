//! SQLite.

mod conformance;
mod file;

//! SQLite.

mod conformance;
mod file;
mod within;

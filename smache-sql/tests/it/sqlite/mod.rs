//! SQLite.

#[cfg(unix)]
mod child;
mod conformance;
#[cfg(unix)]
mod damage;
mod doctor;
mod file;
mod in_transaction;
mod migrate;

//! SQLite.

#[cfg(unix)]
mod child;
mod conformance;
#[cfg(unix)]
mod damage;
mod doctor;
mod file;
mod migrate;
mod within;

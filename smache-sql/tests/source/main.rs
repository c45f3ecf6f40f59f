//! The sources and their feeds on databases.

#![cfg(all(feature = "postgres", feature = "sqlite"))]

mod changes;
mod doctor;
mod loading;
mod migrate;
mod order;
mod postgres_only;
mod refusals;
mod replaced;
mod resuming;
mod suite;
mod triggers;
mod trouble;
mod world;

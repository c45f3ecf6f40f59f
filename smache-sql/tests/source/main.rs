//! The sources and their feeds on databases.

#![cfg(all(feature = "postgres", feature = "sqlite"))]

mod changes;
mod loading;
mod order;
mod postgres_only;
mod postgres_server;
mod refusals;
mod replaced;
mod resuming;
mod suite;
mod triggers;
mod world;

//! The sources and their feeds on databases.

#![cfg(all(feature = "postgres", feature = "sqlite"))]

mod changes;
mod composite;
mod digits;
mod doctor;
mod emptied;
mod equality;
mod files;
mod loading;
mod maintenance;
mod migrate;
mod notices;
mod order;
mod postgres_only;
#[path = "../it/postgres/proxy.rs"]
#[expect(dead_code, reason = "the other tests count round trips with it")]
mod proxy;
mod refusals;
mod replaced;
mod resuming;
mod suite;
mod triggers;
mod trouble;
mod world;

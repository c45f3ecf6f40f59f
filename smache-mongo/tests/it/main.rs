//! The source with its feed, the store and the queue on servers.

mod backend;
mod changes;
mod freshness;
mod loading;
mod refusals;
mod resets;
mod resuming;
mod suite;
mod world;

//! The source with its feed, the store and the queue on servers.

mod backend;
mod changes;
mod equality;
mod freshness;
mod histories;
mod loading;
mod refusals;
mod resets;
mod resuming;
mod sets;
mod suite;
mod world;

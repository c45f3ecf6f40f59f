//! The source and its feed on servers.

mod changes;
mod freshness;
mod loading;
mod refusals;
mod resets;
mod resuming;
mod suite;
mod world;

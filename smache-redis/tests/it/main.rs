//! The Redis backend on real servers: the contract, and what is special about this backend.

mod conformance;
mod connect;
mod corrupt;
mod cost;
mod history;
mod paging;
mod reconnect;
mod rights;
mod source;
mod support;
mod trouble;
mod upkeep;
mod vouching;
mod waiting;

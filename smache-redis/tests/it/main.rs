//! The Redis backend on real servers: the contract, and the cases of this backend.

mod conformance;
mod connect;
mod corrupt;
mod cost;
mod history;
mod maintenance;
mod paging;
mod reconnect;
mod rights;
mod source;
mod support;
mod trouble;
mod validity;
mod waiting;

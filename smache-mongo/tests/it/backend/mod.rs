//! MongoDB as a store and a queue.

mod between;
mod conformance;
mod connect;
mod cost;
mod damage;
mod halves;
mod incarnation;
mod rights;
mod secondary;
pub(crate) mod support;

//! MongoDB as a store and a queue.

mod conformance;
mod connect;
mod cost;
mod halves;
mod life;
mod rights;
mod secondary;
mod support;

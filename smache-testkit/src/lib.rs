//! The contract of the backends of SMache, as suites of tests.
//!
//! Every bullet of the contracts of stores, queues and sources in `smache-core`, and of key-value stores in
//! `smache-kv`, ends with the name of a case, and that case is here. A backend proves itself with one macro call per
//! role; each case becomes one test, and a case that is added here is added to every backend at once. Cases whose
//! documentation starts with `Beyond the contract:` check the same promises harder: races with exact totals, futures
//! dropped half-way, random sequences compared with the protocol.
//!
//! | macro | proves | the factory gives |
//! |---|---|---|
//! | [`backend_suite!`] | a [`Backend`](smache_core::Backend) in all its roles, by the macros below | [`BackendHarness`] |
//! | [`store_suite!`] | a [`CacheStore`](smache_core::CacheStore) | [`StoreHarness`] |
//! | [`queue_suite!`] | a [`JobQueue`](smache_core::JobQueue) | [`QueueHarness`] |
//! | [`joined_suite!`] | both of one backend, jobs written in the same step | [`JoinedHarness`] |
//! | [`comparison_suite!`] | a whole backend, step by step, against the pure protocol | [`BackendHarness`] |
//! | [`incarnation_suite!`] | a store whose server can be replaced in a test | [`StoreHarness`] with [`with_new_incarnation`](Harness::with_new_incarnation) |
//! | [`eviction_suite!`] | a store with a capacity | [`StoreHarness`] with [`with_capacity`](Harness::with_capacity) |
//! | [`key_value_suite!`] | a [`KeyValue`](smache_kv::KeyValue), on which `smache-kv` builds both | [`KeyValueHarness`] |
//! | [`key_value_incarnation_suite!`] | one that can be replaced in a test | [`KeyValueHarness`] with [`with_new_incarnation`](Harness::with_new_incarnation) |
//! | [`source_suite!`] | a [`DataSource`](smache_core::DataSource) with its [`ChangeFeed`](smache_core::ChangeFeed) | [`SourceHarness`] |
//! | [`attached_source_suite!`] | a source without a feed | [`SourceHarness`] |
//!
//! [`mod@reference`] is the protocol as data: a store and a queue without I/O, for comparisons and for a model checker.
//! [`faults`] wraps any backend so that its steps fail on demand, [`layer`] a source so that it behaves in another way,
//! [`yielding`] a key-value store so that tasks take turns between its calls, and [`servers`] starts private servers
//! for tests.
//!
//! A factory is an async function without arguments, called once per case, that returns a backend, or a store (queue,
//! source) with nothing in it: under a [`random_namespace`], so that cases run side by side on one server and nothing is
//! ever flushed. Name it by a plain name or an absolute path. A suite expands to a module of the same name; wrap it in
//! another module to run it twice. A case that is not over after [its bound](Harness::with_bound) fails with its name.
//!
//! # Example
//! ```
//! use std::sync::Arc;
//!
//! use smache_core::ManualClock;
//! use smache_memory::{Loss, Memory};
//! use smache_testkit::BackendHarness;
//!
//! async fn memory() -> BackendHarness {
//!     // The cases move the clock instead of sleeping. Leave `with_clock` out for a server: they sleep then.
//!     let clock = ManualClock::default();
//!     let memory = Memory::builder().clock(Arc::new(clock.clone())).build();
//!     BackendHarness::of(memory.clone()).with_clock(clock).with_new_incarnation(move || {
//!         memory.simulate_restart(Loss::Nothing);
//!         std::future::ready(())
//!     })
//! }
//!
//! // Without the second word where a test cannot replace the server.
//! smache_testkit::backend_suite!(memory, incarnation);
//! # fn main() {}
//! ```

mod chance;
pub mod comparison;
pub mod eviction;
pub mod faults;
mod harness;
pub mod incarnation;
pub mod joined;
pub mod key_value;
pub mod layer;
pub mod queue;
pub mod reference;
pub mod servers;
pub mod source;
#[doc(hidden)]
pub mod steps;
pub mod store;
mod suites;
pub mod yielding;

#[cfg(test)]
mod tests;

pub use self::harness::{
    BackendHarness, Harness, Joined, JoinedHarness, KeyValueHarness, QueueHarness, SourceHarness, SourceProbe,
    StoreHarness, random_namespace,
};
#[doc(hidden)]
pub use self::harness::{run, run_case};

//! The in-process backend of SMache: a store, a queue and a source.
//!
//! [`Memory`] is a whole backend without a server: for tests, for programs of one process, and as the reference for
//! other backends. Nothing survives the process, and nothing grows without bound: above its capacity a store removes
//! the entries that were stored or read least recently.
//!
//! ```
//! use smache_core::{Backend, Namespace};
//! use smache_memory::Memory;
//!
//! let memory = Memory::builder().capacity(10_000).build();
//! let (store, queue) = memory.both(&Namespace::new("shop")?)?;
//! # Ok::<(), smache_core::Error>(())
//! ```
//!
//! [`MemorySource`] is a table of entities with a change feed.
//!
//! # Locking
//! One mutex for each namespace: every method of the store and of the queue beside it is one critical section, so each
//! is one atomic step. No lock is held across an await.

mod config;
mod namespace;
mod queue;
mod source;
mod store;

pub use self::{
    config::{Loss, Memory, MemoryBuilder},
    queue::MemoryQueue,
    source::MemorySource,
    store::MemoryStore,
};

//! A whole backend of SMache on any ordered key-value store with transactions.
//!
//! You implement [`KeyValue`] and [`Transaction`] for your database — four methods together — and get a cache store and
//! a job queue, alone or joined, that pass the published suites of `smache-testkit`. `docs/guide/writing-a-backend.md`
//! of the repository is the guide; `examples/custom_backend` is such a store in a file, and `smache-kv/tests/it` runs
//! the suites on it.
//!
//! The smallest one is a map behind a lock:
//!
//! ```
//! use std::{collections::BTreeMap, sync::Arc};
//!
//! use async_trait::async_trait;
//! use bytes::Bytes;
//! use smache_core::{Backend, Clock, Incarnation, Namespace, Result, SystemClock};
//! use smache_kv::{Access, KeyValue, KvBackend, Started, Transaction, Write};
//! use tokio::sync::{Mutex, OwnedMutexGuard};
//!
//! #[derive(Debug, Default)]
//! struct Map(Arc<Mutex<BTreeMap<Bytes, Bytes>>>);
//!
//! /// A transaction has the lock alone, so nothing ever conflicts.
//! struct Locked(OwnedMutexGuard<BTreeMap<Bytes, Bytes>>);
//!
//! #[async_trait]
//! impl KeyValue for Map {
//!     async fn begin(&self, _: Access) -> Result<Started> {
//!         let transaction = Box::new(Locked(Arc::clone(&self.0).lock_owned().await));
//!         // It lives as long as its data, and loses nothing before: one incarnation is enough.
//!         Ok(Started { now: SystemClock.now(), incarnation: Incarnation::new("only"), transaction })
//!     }
//! }
//!
//! #[async_trait]
//! impl Transaction for Locked {
//!     async fn get(&mut self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>> {
//!         Ok(keys.iter().map(|key| self.0.get(key).cloned()).collect())
//!     }
//!
//!     async fn scan(&mut self, from: &Bytes, to: &Bytes, limit: usize) -> Result<Vec<(Bytes, Bytes)>> {
//!         let range = self.0.range(from.clone()..to.clone());
//!         Ok(range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
//!     }
//!
//!     async fn commit(mut self: Box<Self>, writes: Vec<Write>) -> Result<()> {
//!         for Write { key, value } in writes {
//!             match value {
//!                 Some(value) => self.0.insert(key, value),
//!                 None => self.0.remove(&key),
//!             };
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! let (store, queue) = KvBackend::new(Map::default()).both(&Namespace::new("shop")?)?;
//! assert_eq!((store.stats().await?.entries, queue.counts().await?.running), (0, 0));
//! # Ok(())
//! # }
//! ```
//!
//! # The steps
//! Every method of the store and of the queue is one transaction. Two things take several: maintenance, which does each
//! of its tasks separately, and an invalidation of more than [a page](KvBackendBuilder::page) of dependants. The latter
//! is announced first, so that no value that is computed meanwhile counts as fresh; maintenance redoes it if its author
//! died. Within the [limits](Limits) of a store, an invalidation of many dependencies becomes several, of which the last
//! saves the position of the feed, and so do long lists of jobs and runs.
//!
//! A look-up, a begin and a commit read their keys in [the round trip that begins the transaction](KeyValue::begin_and_get).
//!
//! A step that conflicts with another one runs again, up to a hundred times. The steps of one [`KvBackend`] that have
//! conflicted, and those that raise the revision, run one after the other, in the order in which they came; a step that
//! has lost three times runs while no other one of that backend writes. Between processes there is no order: a step that
//! had its turn and met another process pauses for a short random time.
//!
//! # Damaged data
//! A record that cannot be read counts as absent, and a warning names its entry: the look-up answers the others, and
//! the entry is computed again. Invalidations, maintenance and listings skip it. The first step that writes removes it,
//! and maintenance removes its places in the indexes. Damaged state of the namespace is replaced, also with a warning.
//! The first step that writes starts another epoch, so that everything is computed again once; a revision ahead of the
//! damaged one; and no position, so that the feed starts its source again. A damaged job is replaced by a new one.
//!
//! # Releases
//! A namespace carries the layout of its keys and values, from its first write on. A namespace of another layout is
//! refused as a whole, [`WrongServer`](smache_core::ErrorKind::WrongServer), and stays unchanged: upgrade the older
//! program, or empty the namespace with [`KvBackend::clear`]. The check costs one key of one step for each incarnation
//! of the store.
//!
//! # Numbers
//! `stats` and `counts` are exact and read no index: a step adds a pair with the differences that it makes, under a key
//! that no other step has, and maintenance adds the pairs up after a second. A counter under one key would make every
//! two steps of an optimistic store conflict, and several keys would do so now and then. After damaged data the numbers
//! may be off until maintenance has counted everything once.
//!
//! # Limits
//! Without a [capacity](KvBackendBuilder::capacity) entries stay until they expire or are removed: give functions a
//! `ttl`. Workers look for jobs of other processes [every half second](KvBackendBuilder::poll).

mod area;
mod clear;
mod codec;
mod config;
mod counts;
mod damage;
mod error;
mod key_value;
mod keys;
mod layout;
mod limits;
mod queue;
mod step;
mod store;
mod turns;

pub use self::{
    config::{KvBackend, KvBackendBuilder},
    error::conflict,
    key_value::{Access, KeyValue, Started, Transaction, Write},
    limits::Limits,
    queue::KvQueue,
    store::KvStore,
};

//! Stores that yield between their reads and writes, so that races meet in one that never waits.
//!
//! The tasks of a case on a map in memory take turns only where they await something. [`Yielding`] makes every call of
//! a transaction such a place, at random. The same for the steps of stores and queues is
//! [`Faults::yield_between`](crate::faults::Faults::yield_between).
//!
//! ```
//! # fn example(map: impl smache_kv::KeyValue) {
//! use smache_kv::KvBackend;
//! use smache_testkit::yielding::Yielding;
//!
//! let backend = KvBackend::new(Yielding::new(map));
//! # }
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use smache_core::{Examination, Result};
use smache_kv::{Access, KeyValue, Limits, Started, Transaction, Write};

use crate::chance::Chance;

/// The most turns that one pause leaves to other tasks.
const TURNS: u32 = 4;

/// Leaves a random number of turns to other tasks.
#[derive(Debug)]
pub(crate) struct Pauses(Mutex<Chance>);

impl Pauses {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Chance::new()))
    }

    pub(crate) async fn pause(&self) {
        let turns = self.0.lock().unwrap_or_else(PoisonError::into_inner).below(TURNS);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }
}

/// A key-value store that yields before and after each call, a random number of times.
#[derive(Debug)]
pub struct Yielding<K> {
    store: K,
    pauses: Arc<Pauses>,
}

struct YieldingTransaction {
    transaction: Box<dyn Transaction>,
    pauses: Arc<Pauses>,
}

impl<K: KeyValue> Yielding<K> {
    /// Wraps a store.
    pub fn new(store: K) -> Self {
        Self { store, pauses: Arc::new(Pauses::new()) }
    }

    fn yielding(&self, started: Started) -> Started {
        let Started { now, incarnation, transaction } = started;
        let pauses = Arc::clone(&self.pauses);
        Started { now, incarnation, transaction: Box::new(YieldingTransaction { transaction, pauses }) }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<K: KeyValue> KeyValue for Yielding<K> {
    async fn begin(&self, access: Access) -> Result<Started> {
        self.pauses.pause().await;
        let started = self.yielding(self.store.begin(access).await?);
        self.pauses.pause().await;
        Ok(started)
    }

    async fn begin_and_get(&self, access: Access, keys: &[Bytes]) -> Result<(Started, Vec<Option<Bytes>>)> {
        self.pauses.pause().await;
        let (started, values) = self.store.begin_and_get(access, keys).await?;
        let started = self.yielding(started);
        self.pauses.pause().await;
        Ok((started, values))
    }

    fn limits(&self) -> Limits {
        self.store.limits()
    }

    async fn examine(&self) -> Result<Examination> {
        self.store.examine().await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Transaction for YieldingTransaction {
    async fn get(&mut self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>> {
        let read = self.transaction.get(keys).await;
        self.pauses.pause().await;
        read
    }

    async fn scan(&mut self, from: &Bytes, to: &Bytes, limit: usize) -> Result<Vec<(Bytes, Bytes)>> {
        let read = self.transaction.scan(from, to, limit).await;
        self.pauses.pause().await;
        read
    }

    async fn commit(self: Box<Self>, writes: Vec<Write>) -> Result<()> {
        self.pauses.pause().await;
        let done = self.transaction.commit(writes).await;
        self.pauses.pause().await;
        done
    }
}

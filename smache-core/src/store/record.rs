//! The record of an entry in a store.

use std::sync::Arc;

use bytes::Bytes;

use super::Epochs;
use crate::{Timestamp, UsedDependency};

/// Whether a change has affected an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Staleness {
    /// No change has.
    Fresh,
    /// Only changes through nested calls: the entry is re-validated without a run when their values come out equal.
    MaybeStale,
    /// A change of something that the function itself read: it must run again.
    Stale,
}

/// An entry as a look-up returns it: only the fields that a hit needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// The encoded result.
    pub value: Bytes,
    /// The engine's own notes on the value; opaque to stores.
    pub meta: Bytes,
    /// The revision before its run read any data.
    pub version: u64,
    /// The epochs that its run began in.
    pub epochs: Epochs,
    /// Whether a change has affected it.
    pub staleness: Staleness,
    /// Since when it is stale.
    pub since: Option<Timestamp>,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// When it expires. From then on it counts as absent, and maintenance removes it.
    pub expires: Option<Timestamp>,
}

impl StoredEntry {
    /// Whether it has expired. The one definition of expiry.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// All fields of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The part that a look-up returns.
    pub entry: StoredEntry,
    /// The canonical call, from which a worker computes it again.
    pub call: Bytes,
    /// Its dependencies.
    pub used: Vec<UsedDependency>,
    /// The changes that made it stale, the newest last, at most 8.
    pub causes: Vec<Arc<str>>,
    /// Whether it waits for a reader instead of a worker.
    pub lazy: bool,
    /// Runs in a row that a change overtook.
    pub conflicts: u32,
    /// Runs in a row that failed.
    pub failures: u32,
    /// The last failure since the last success.
    pub last_failure: Option<RunFailure>,
}

impl Record {
    /// A record of an entry; the rest is set by its public fields.
    #[must_use]
    pub fn new(entry: StoredEntry, call: Bytes, used: Vec<UsedDependency>) -> Self {
        Self { entry, call, used, causes: Vec::new(), lazy: false, conflicts: 0, failures: 0, last_failure: None }
    }
}

/// A failed run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RunFailure {
    /// The error in one line; stores keep the first 2,000 bytes.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// Counts of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreStats {
    /// Entries with a value.
    pub entries: u64,
    /// Stale ones among them.
    pub stale: u64,
    /// Computations under way.
    pub running: u64,
    /// The revision of the namespace.
    pub revision: u64,
    /// Remembered invalidations, which the next maintenance trims.
    pub invalidations: u64,
}

//! A result with its state.

use std::{fmt, ops::Deref, sync::Arc, time::Duration};

use crate::{Freshness, Timestamp};

/// A result and how fresh it is. Derefs to the value, cheap to clone.
pub struct Cached<T> {
    value: Arc<T>,
    freshness: Freshness,
    computed_at: Timestamp,
    read_at: Timestamp,
    version: u64,
    stored: bool,
}

impl<T> Cached<T> {
    pub(crate) fn new(
        value: Arc<T>,
        freshness: Freshness,
        computed_at: Timestamp,
        read_at: Timestamp,
        version: u64,
    ) -> Self {
        Self { value, freshness, computed_at, read_at, version, stored: true }
    }

    /// The same value, with no record of it in the store.
    pub(crate) fn not_stored(self) -> Self {
        Self { stored: false, ..self }
    }

    /// How fresh the value was when it was read.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// Whether the value was confirmed when it was read.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.freshness.is_fresh()
    }

    /// When the value was stored, by the store's clock.
    #[must_use]
    pub fn computed_at(&self) -> Timestamp {
        self.computed_at
    }

    /// How old the value was when it was read.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.read_at.since(self.computed_at)
    }

    /// For how long the value had been known to be stale when it was read; `None` if it was not.
    #[must_use]
    pub fn stale_for(&self) -> Option<Duration> {
        self.freshness.stale_for(self.read_at)
    }

    /// For how long the value may have been behind the data when it was read: since it was stale, or since its sources
    /// were not confirmed. Zero for a fresh value; `None` where the time is not known.
    #[must_use]
    pub fn behind_for(&self) -> Option<Duration> {
        self.freshness.behind_for(self.read_at)
    }

    /// The shared value.
    #[must_use]
    pub fn into_shared(self) -> Arc<T> {
        self.value
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The version under which the value is in the store, unless it is known to be stale there.
    pub(crate) fn stored_version(&self) -> Option<u64> {
        (self.stored && !self.freshness.is_stale()).then_some(self.version)
    }
}

impl<T: Clone> Cached<T> {
    /// The value itself, cloned if it is shared.
    #[must_use]
    pub fn into_inner(self) -> T {
        Arc::unwrap_or_clone(self.value)
    }
}

impl<T> Deref for Cached<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Clone for Cached<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), ..*self }
    }
}

impl<T: fmt::Debug> fmt::Debug for Cached<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").field("value", &self.value).field("freshness", &self.freshness).finish_non_exhaustive()
    }
}

impl<T: fmt::Display> fmt::Display for Cached<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: PartialEq> PartialEq<T> for Cached<T> {
    fn eq(&self, other: &T) -> bool {
        *self.value == *other
    }
}

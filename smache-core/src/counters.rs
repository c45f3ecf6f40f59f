//! Counts of the work of this process.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Numbers of this process since its start.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The counters while they count.
        #[derive(Debug, Default)]
        pub(crate) struct Tally {
            $(pub(crate) $name: AtomicU64,)*
        }

        impl Tally {
            pub(crate) fn read(&self) -> Counters {
                Counters { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Reads that were answered from the store with a fresh value.
    fresh_hits,
    /// Reads that were answered from the store with a stale value.
    stale_hits,
    /// Reads that were answered from the store with an unconfirmed value.
    unconfirmed_hits,
    /// Reads that had to compute or to wait for a computation.
    misses,
    /// Runs of functions, successful or not.
    runs,
    /// Runs that ended in an error, a panic or a timeout.
    failures,
    /// Runs whose result was stored as stale, because a change overtook them.
    conflicts,
    /// Runs of jobs that ended before their functions did, because changes had overtaken them; the functions ran again
    /// at once.
    ended_early,
    /// Runs that changes had overtaken, but whose repeated reads gave the same answers.
    reread,
    /// Stale entries that proved to be still right without a run of their functions (early cut-off).
    cut_offs,
    /// Runs that read a source which their function does not declare.
    undeclared,
    /// Results that depend on whole sources, because they read more entities than an entry may depend on.
    coarsened,
    /// Runs whose result was not stored, because the lease was lost.
    lost,
    /// Reads that computed without the store, because it failed.
    bypasses,
    /// Reads that did not even ask the store, because it had failed several times in a row.
    skipped,
    /// Stored entries that could not be decoded and were treated as absent.
    undecodable,
    /// Jobs that this process left to other programs, because it does not have their function.
    unknown_jobs,
    /// Jobs that were parked, because no living program has their function.
    parked_jobs,
    /// Changes that were handed to the store, by feeds and by the application.
    changes,
    /// Changes whose relations or predicates could not be evaluated: each affects every result that it may concern.
    wildcard_changes,
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Counts several.
pub(crate) fn add(counter: &AtomicU64, many: usize) {
    counter.fetch_add(many as u64, Relaxed);
}

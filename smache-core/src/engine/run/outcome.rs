//! The outcome of an attempt to compute an entry, and its meaning for a reader, a caller and a job.

use std::{any::Any, sync::Arc, time::Duration};

use crate::{Cached, Error, ErrorKind, Freshness, Result, Timestamp, backoff::jittered};

/// The pause of a job whose value could not be stored.
const NOT_STORED: Duration = Duration::from_millis(200);
/// The pause of a job while an invalidation is under way.
const PENDING: Duration = Duration::from_millis(40);
/// The pauses of a job whose function runs in another process, which may give its lease back early.
const BUSY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// The result of an attempt.
#[derive(Debug, Clone)]
pub(crate) enum Attempt {
    /// The function ran.
    Ran(Ran),
    /// Another process runs the function, for at most that long unless it extends its lease.
    Busy(Duration),
    /// There is nothing to run: no record, expired, or not stale.
    Idle,
    /// The stored value is still right, without a run of the function (early cut-off).
    Revalidated { stored: Stored, version: u64 },
    /// An invalidation of a dependency is under way: it would overtake a run that starts now.
    Pending,
    /// Changes overtake its runs: the next run should wait that long.
    Hot(Duration),
}

/// A value from a run.
#[derive(Debug, Clone)]
pub(crate) struct Ran {
    pub(crate) value: Arc<dyn Any + Send + Sync>,
    pub(crate) freshness: Freshness,
    pub(crate) at: Timestamp,
    pub(crate) version: u64,
    pub(super) stored: Stored,
}

/// Whether the value of a run is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    Fresh,
    /// As stale; the next run should wait that long.
    Stale(Duration),
    /// Not stored: the lease was lost, or the store was replaced or cannot be reached.
    No,
}

impl Attempt {
    /// For a reader: the value of the run. Without one the store has the answer, now or soon.
    pub(crate) fn value(self) -> Option<Ran> {
        match self {
            Self::Ran(ran) => Some(ran),
            Self::Busy(_) | Self::Idle | Self::Revalidated { .. } | Self::Pending | Self::Hot(_) => None,
        }
    }

    /// For a reader: whether another process runs the function.
    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Busy(_))
    }

    /// For a caller that compares values: the version that this attempt has stored as fresh.
    pub(crate) fn fresh_version(&self) -> Option<u64> {
        match self {
            Self::Ran(Ran { stored: Stored::Fresh, version, .. })
            | Self::Revalidated { stored: Stored::Fresh, version } => Some(*version),
            Self::Ran(_) | Self::Revalidated { .. } | Self::Busy(_) | Self::Idle | Self::Pending | Self::Hot(_) => None,
        }
    }

    /// For a job: the pause after which it looks at its entry again; `None` when the entry needs no job.
    pub(crate) fn looks_again_in(&self) -> Option<Duration> {
        match self {
            Self::Ran(Ran { stored, .. }) | Self::Revalidated { stored, .. } => match stored {
                Stored::Fresh => None,
                Stored::Stale(delay) => Some(jittered(*delay)),
                Stored::No => Some(jittered(NOT_STORED)),
            },
            Self::Idle => None,
            Self::Hot(remaining) => Some(*remaining),
            Self::Pending => Some(jittered(PENDING)),
            Self::Busy(remaining) => Some((*remaining).clamp(BUSY.0, BUSY.1)),
        }
    }

    /// For a job: whether the function ran and its value is stored as fresh.
    pub(crate) fn is_recomputed(&self) -> bool {
        matches!(self, Self::Ran(Ran { stored: Stored::Fresh, .. }))
    }
}

impl Ran {
    pub(crate) fn cached<T: Send + Sync + 'static>(self) -> Result<Cached<T>> {
        let value: Arc<T> = self.value.downcast().map_err(|_| {
            Error::new(ErrorKind::Internal, "a computation gave a value of another type than its function's")
        })?;
        let cached = Cached::new(value, self.freshness, self.at, self.at, self.version);
        Ok(if self.stored == Stored::No { cached.not_stored() } else { cached })
    }
}

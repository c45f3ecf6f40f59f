//! The parts of a commit that are the same in every store.

use super::{Commit, OnConflict, Staleness};
use crate::{Lane, Timestamp, UsedDependency, Via};

impl Commit {
    /// How stale the value is stored: whether the epochs of begin are the present ones, and which used dependencies
    /// have changed after its version, or may have.
    pub fn staleness<'a>(
        &self,
        has_epochs: bool,
        conflicts: impl IntoIterator<Item = &'a UsedDependency>,
    ) -> Staleness {
        if self.tainted || !has_epochs {
            return Staleness::Stale;
        }
        conflicts.into_iter().map(|used| Staleness::by(used.via)).max().unwrap_or(Staleness::Fresh)
    }

    /// Whether the answer is [`CommitOutcome::ConflictReported`](super::CommitOutcome::ConflictReported): the commit
    /// asks for it, and changes of so many dependencies, which are few, are the only objection to the value.
    #[must_use]
    pub fn is_reported(&self, has_epochs: bool, low_watermark: u64, changed: usize) -> bool {
        self.on_conflict == OnConflict::Report
            && !self.tainted
            && has_epochs
            && self.version >= low_watermark
            && (1..=OnConflict::MAX_REPORTED).contains(&changed)
    }

    /// The most changed dependencies that the commit wants reported; zero if it does not ask.
    #[must_use]
    pub fn most_reported(&self) -> usize {
        match self.on_conflict {
            OnConflict::StoreStale => 0,
            OnConflict::Report => OnConflict::MAX_REPORTED,
        }
    }

    /// When the entry expires, for a value that is stored now.
    #[must_use]
    pub fn expires(&self, now: Timestamp) -> Option<Timestamp> {
        let ttl_until = self.ttl.map(|ttl| now.after(ttl));
        ttl_until.into_iter().chain(self.not_after).min()
    }
}

impl Staleness {
    /// How a change makes a dependant stale, by how that depends.
    #[must_use]
    pub fn by(via: Via) -> Self {
        if via == Via::Child { Self::MaybeStale } else { Self::Stale }
    }

    /// The lane of the job of an entry that is so stale; none for a fresh one.
    #[must_use]
    pub fn lane(self) -> Option<Lane> {
        match self {
            Self::Fresh => None,
            Self::MaybeStale => Some(Lane::Propagation),
            Self::Stale => Some(Lane::Recompute),
        }
    }
}

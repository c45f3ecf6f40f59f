//! Whether a reader accepts a stored value, or the unconfirmed value of a run.

use super::{Function, generation::SeenGeneration};
use crate::{Cached, Freshness, Lookup, Timestamp, computed::Want};

impl Want {
    /// The same wishes, for the generation of the store that answered. A token of another generation cannot be compared
    /// with a version: then only a fresh value is sure to reflect its change.
    pub(super) fn on(mut self, lookup: &Lookup) -> Self {
        let generation = SeenGeneration::of(lookup).as_number();
        if self.at_least.is_some_and(|token| token.revision_in(generation).is_none()) {
            (self.fresh, self.at_least) = (true, None);
        }
        self
    }

    /// Whether a value in its state is good enough for the reader.
    pub(super) fn accepts<T>(&self, found: &Cached<T>) -> bool {
        if found.is_fresh() {
            return true;
        }
        let bounded = self.max_stale.is_none_or(|bound| found.behind_for().is_some_and(|behind| behind <= bound));
        !self.fresh && self.is_recent(found) && bounded
    }

    /// Whether the unconfirmed value of a run is good enough: it reflects every change before the reader came.
    pub(super) fn accepts_run<T>(&self, ran: &Cached<T>, came: Timestamp) -> bool {
        let after = matches!(ran.freshness(), Freshness::Unconfirmed { since: Some(since) } if since >= came);
        after && self.is_recent(ran)
    }

    fn is_recent<T>(&self, found: &Cached<T>) -> bool {
        self.at_least.is_none_or(|token| found.version() >= token.revision())
    }
}

/// Whether a stored value suffices. A stale value of a function that refreshes on read does not: its next reader
/// recomputes it.
pub(super) fn suffices<T>(function: &Function, want: Want, found: &Cached<T>) -> bool {
    want.accepts(found) && !(function.lazy && matches!(found.freshness(), Freshness::Stale { .. }))
}

//! The reads of a failed run.

use std::collections::BTreeMap;

use super::{Meta, NameHash, Tracked};
use crate::{Dependency, Error, FunctionKey, Record, SourceId, Timestamp};

/// The reads of a failed run, and when it began.
#[derive(Debug, Clone)]
pub(crate) struct FailedReads {
    pub(super) leaves: Vec<Dependency>,
    pub(super) sources: Vec<SourceId>,
    /// Every function that was called, directly or through others.
    pub(super) called: BTreeMap<FunctionKey, NameHash>,
    pub(super) not_after: Option<Timestamp>,
    pub(super) tainted: bool,
    /// The revision at which the run began: its reads may miss a change up to the begin of a later run, which that
    /// run's commit does not look for.
    start_revision: u64,
}

impl FailedReads {
    pub(crate) fn of(tracked: &Tracked, start_revision: u64) -> Self {
        Self {
            leaves: tracked.used.keys().copied().collect(),
            sources: tracked.sources.iter().cloned().collect(),
            called: tracked.called.clone(),
            not_after: tracked.not_after,
            tainted: tracked.tainted,
            start_revision,
        }
    }

    /// The reads behind a stored error that is fresh: a caller reads it like any other child.
    pub(crate) fn kept(record: &Record, meta: &Meta) -> Self {
        Self {
            leaves: record.used.iter().map(|used| used.dependency).collect(),
            sources: record.entry.epochs.sources.iter().map(|(source, _)| source.clone()).collect(),
            called: meta.called.iter().copied().collect(),
            not_after: record.entry.expires,
            tainted: false,
            start_revision: u64::MAX,
        }
    }

    /// Whether the run began before another one: a change in between may have overtaken its reads, and the commit of
    /// the other run would not find it.
    pub(crate) fn began_before(&self, start_revision: u64) -> bool {
        self.start_revision < start_revision
    }
}

impl Error {
    /// Makes it the outcome of a run with these reads.
    pub(crate) fn of_run(self, reads: FailedReads) -> Self {
        self.with_note(reads)
    }

    /// The reads of the failed run, if a run failed. A caller that tolerates the error depends on them.
    pub(crate) fn reads(&self) -> Option<&FailedReads> {
        self.note()
    }
}

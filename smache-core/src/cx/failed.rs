//! What is known of the reads of a run that failed.

use std::collections::BTreeMap;

use super::Tracked;
use crate::{
    Dependency, FunctionKey, Record, SourceId, Timestamp,
    system::{Meta, NameHash},
};

/// What a run that failed had read, and when it had begun.
#[derive(Debug, Clone)]
pub(crate) struct FailedReads {
    pub(super) leaves: Vec<Dependency>,
    pub(super) sources: Vec<SourceId>,
    /// Every function that was called, directly or through others.
    pub(super) called: BTreeMap<FunctionKey, NameHash>,
    pub(super) not_after: Option<Timestamp>,
    pub(super) tainted: bool,
    /// The revision of its begin: a change of what it read conflicts with a run that began later only from then on.
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

    /// What a run had read whose error is kept, and fresh: it is read as any other child is.
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

    /// Whether the run began before another one: it may have read what a change has overtaken since, and the commit of
    /// the other run would not find it.
    pub(crate) fn began_before(&self, start_revision: u64) -> bool {
        self.start_revision < start_revision
    }
}

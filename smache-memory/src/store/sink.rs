//! The destination of the jobs of stale entries.

use std::time::Duration;

use smache_core::{EntryId, JobWrites, Lane, Timestamp};

use crate::queue::Jobs;

/// Takes the needs of a step: into the queue under the same lock, or into a list for the caller.
pub(crate) enum JobSink<'a> {
    Queue { jobs: &'a mut Jobs, now: Timestamp },
    Report(Vec<EntryId>),
}

impl<'a> JobSink<'a> {
    pub(crate) fn new(writes: JobWrites, jobs: &'a mut Jobs, now: Timestamp) -> Self {
        match writes {
            JobWrites::SameStep => Self::Queue { jobs, now },
            JobWrites::Reported => Self::Report(Vec::new()),
        }
    }

    /// A change affected the entry: it may succeed now, so its job comes back even from a dead letter.
    pub(crate) fn need(&mut self, id: EntryId, lane: Lane, delay: Duration) {
        match self {
            Self::Queue { jobs, now } => jobs.need(id, lane, now.after(delay)),
            Self::Report(ids) => ids.push(id),
        }
    }

    /// A run of the entry ended without a value, and it is still stale. No data changed, so an existing job, such as a
    /// dead letter, stays unchanged.
    pub(crate) fn need_after_run(&mut self, id: EntryId, lane: Lane, delay: Duration) {
        match self {
            Self::Queue { jobs, now } => jobs.need_after_run(id, lane, now.after(delay)),
            Self::Report(ids) => ids.push(id),
        }
    }

    /// The entry is fresh: its job has nothing to do.
    pub(crate) fn take_back(&mut self, id: &EntryId) {
        if let Self::Queue { jobs, .. } = self {
            jobs.take_back(id);
        }
    }

    /// The ids for the caller, with [`JobWrites::Reported`].
    pub(crate) fn take_reported(&mut self) -> Vec<EntryId> {
        match self {
            Self::Queue { .. } => Vec::new(),
            Self::Report(ids) => std::mem::take(ids),
        }
    }
}

//! The destination of the jobs of stale entries.

use smache_core::{EntryId, JobWrites, Timestamp, protocol::JobWrite};

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

    /// Does to the job of an entry what a step on the entry says.
    pub(crate) fn write(&mut self, id: EntryId, write: JobWrite) {
        match self {
            Self::Queue { jobs, now } => jobs.write(id, write, *now),
            Self::Report(ids) => ids.extend(write.is_need().then_some(id)),
        }
    }

    /// The entry is gone: its job has nothing to do.
    pub(crate) fn take_back(&mut self, id: &EntryId) {
        self.write(*id, JobWrite::TakeBack);
    }

    /// The ids for the caller, with [`JobWrites::Reported`].
    pub(crate) fn take_reported(&mut self) -> Vec<EntryId> {
        match self {
            Self::Queue { .. } => Vec::new(),
            Self::Report(ids) => std::mem::take(ids),
        }
    }
}

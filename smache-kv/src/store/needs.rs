//! Queues the jobs of stale entries in the same step, or lists the entries for the caller.

use std::time::Duration;

use smache_core::{EntryId, JobWrites, Lane, Result};

use crate::{keys::Role, step::Step};

impl Step<'_> {
    /// A change affected the entry: it may succeed now, so its job comes back even from a dead letter.
    pub(super) async fn need(&mut self, id: EntryId, lane: Lane, delay: Duration) -> Result<()> {
        match self.area.job_writes {
            JobWrites::SameStep => self.need_job(id, lane, self.now.after(delay)).await,
            JobWrites::Reported => {
                self.reported.push(id);
                Ok(())
            }
        }
    }

    /// A run of the entry ended without a value, and it is still stale. No data changed, so an existing job, such as a
    /// dead letter, stays unchanged.
    pub(super) async fn need_after_run(&mut self, id: EntryId, lane: Lane, delay: Duration) -> Result<()> {
        match self.area.job_writes {
            JobWrites::SameStep => self.need_job_after_run(id, lane, self.now.after(delay)).await,
            JobWrites::Reported => {
                self.reported.push(id);
                Ok(())
            }
        }
    }

    /// The entry is fresh: its job has nothing to do.
    pub(super) async fn take_back(&mut self, id: &EntryId) -> Result<()> {
        match self.area.job_writes {
            JobWrites::SameStep => self.take_back_job(id).await,
            JobWrites::Reported => Ok(()),
        }
    }

    /// Reads the jobs of entries at once, before the step asks for each.
    pub(super) async fn prefetch_jobs(&mut self, ids: &[EntryId]) -> Result<()> {
        match self.area.job_writes {
            JobWrites::SameStep => {
                let keys = self.keys();
                self.prefetch(ids.iter().map(|id| keys.entry(Role::Job, id))).await
            }
            JobWrites::Reported => Ok(()),
        }
    }
}

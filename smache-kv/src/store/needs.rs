//! Writes the jobs of entries in the same step, or lists the entries that need one for the caller.

use std::collections::HashMap;

use smache_core::{
    EntryId, JobWrites, Result,
    protocol::{self, JobWrite},
};

use crate::{keys::Role, step::Step};

impl Step<'_> {
    /// Does to the job of an entry what a step on the entry says.
    pub(super) async fn write_job(&mut self, id: EntryId, write: JobWrite) -> Result<()> {
        match self.area.job_writes {
            JobWrites::SameStep if write != JobWrite::Keep => {
                let present = self.job(&id).await?;
                let job = protocol::job_write(present.as_ref(), write, self.now);
                self.put_job(&id, present.as_ref(), job.as_ref());
            }
            JobWrites::SameStep => {}
            JobWrites::Reported => self.reported.extend(write.is_need().then_some(id)),
        }
        Ok(())
    }

    /// The same for many entries.
    pub(super) async fn write_jobs(&mut self, jobs: &HashMap<EntryId, JobWrite>) -> Result<()> {
        let needy: Vec<EntryId> = jobs.iter().filter(|(_, job)| job.is_need()).map(|(id, _)| *id).collect();
        self.prefetch_jobs(&needy).await?;
        for (id, job) in jobs {
            self.write_job(*id, *job).await?;
        }
        Ok(())
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

//! Invalidations.

use std::{collections::HashMap, sync::Arc};

use smache_core::{
    Dependency, EntryId, Incarnation, Invalidated, Invalidation, Result, Timestamp, Via,
    protocol::{self, JobWrite},
    support::kept_cause,
};

use super::{sink::JobSink, state::Cache};

impl Cache {
    pub(crate) fn invalidate(
        &mut self,
        invalidation: &Invalidation,
        incarnation: &Incarnation,
        now: Timestamp,
        sink: &mut JobSink<'_>,
    ) -> Result<Invalidated> {
        let Invalidation { changed, entries, step } = invalidation;
        let progress = step.as_ref().map(|step| self.progress(step, incarnation, now)).transpose()?;
        let mut marked: HashMap<EntryId, JobWrite> = HashMap::new();
        for changed in changed {
            let cause = kept_cause(&changed.cause);
            let dependants: Vec<(EntryId, Via)> =
                self.edges.get(&changed.dependency).into_iter().flatten().map(|(id, via)| (*id, *via)).collect();
            for (id, via) in dependants {
                marked.extend(self.mark(&id, via, Some(&cause), now).map(|job| (id, job)));
            }
        }
        for id in entries {
            let own = Dependency::entry(id);
            let cause =
                changed.iter().find(|changed| changed.dependency == own).map(|changed| kept_cause(&changed.cause));
            marked.extend(self.mark(id, Via::Direct, cause.as_ref(), now).map(|job| (*id, job)));
        }
        if !changed.is_empty() || !entries.is_empty() {
            self.revision = protocol::revise(self.revision);
            self.changed.extend(changed.iter().map(|changed| (changed.dependency, self.revision)));
            self.bound_changed(now);
        }
        if let Some((step, progress)) = step.as_ref().zip(progress) {
            self.write_step(step, progress);
        }
        for (id, job) in &marked {
            sink.write(*id, *job);
        }
        Ok(Invalidated { revision: self.revision, marked: marked.len() as u64, jobs: sink.take_reported() })
    }

    /// Marks an entry. Returns its job; `None` if there is no entry.
    fn mark(&mut self, id: &EntryId, via: Via, cause: Option<&Arc<str>>, now: Timestamp) -> Option<JobWrite> {
        let head = &mut self.records.get_mut(id)?.entry.head;
        let job = protocol::mark(head, via, cause, now);
        self.stale.insert(*id);
        Some(job)
    }
}

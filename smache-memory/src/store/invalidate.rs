//! Invalidations.

use std::{collections::HashMap, sync::Arc, time::Duration};

use smache_core::{
    Dependency, EntryId, Incarnation, Invalidated, Invalidation, Result, Staleness, Timestamp, Via,
    support::{kept_cause, note_cause},
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
        if let Some(step) = step {
            self.check_step(step, incarnation)?;
        }
        let mut marked: HashMap<EntryId, Staleness> = HashMap::new();
        for changed in changed {
            let cause = kept_cause(&changed.cause);
            let dependants: Vec<(EntryId, Via)> =
                self.edges.get(&changed.dependency).into_iter().flatten().map(|(id, via)| (*id, *via)).collect();
            for (id, via) in dependants {
                if let Some(staleness) = self.mark(&id, Staleness::by(via), Some(&cause), now) {
                    marked.insert(id, staleness);
                }
            }
        }
        for id in entries {
            let own = Dependency::entry(id);
            let cause =
                changed.iter().find(|changed| changed.dependency == own).map(|changed| kept_cause(&changed.cause));
            if let Some(staleness) = self.mark(id, Staleness::Stale, cause.as_ref(), now) {
                marked.insert(*id, staleness);
            }
        }
        if !changed.is_empty() || !entries.is_empty() {
            self.revision += 1;
            self.changed.extend(changed.iter().map(|changed| (changed.dependency, self.revision)));
            self.bound_changed();
        }
        if let Some(step) = step {
            self.save_step(step, incarnation, now);
        }
        for (id, staleness) in &marked {
            if let Some(lane) = staleness.lane()
                && self.records.get(id).is_some_and(|slot| !slot.record.lazy)
            {
                sink.need(*id, lane, Duration::ZERO);
            }
        }
        Ok(Invalidated { revision: self.revision, marked: marked.len() as u64, jobs: sink.take_reported() })
    }

    /// Marks an entry at least as stale as given. Returns how stale it is now; `None` if there is none.
    pub(super) fn mark(
        &mut self,
        id: &EntryId,
        staleness: Staleness,
        cause: Option<&Arc<str>>,
        now: Timestamp,
    ) -> Option<Staleness> {
        let record = &mut self.records.get_mut(id)?.record;
        record.entry.staleness = record.entry.staleness.max(staleness);
        record.entry.since = record.entry.since.or(Some(now));
        self.stale.insert(*id);
        if let Some(cause) = cause {
            note_cause(&mut record.causes, cause);
        }
        Some(record.entry.staleness)
    }
}

//! Invalidations.

use std::{collections::HashMap, sync::Arc, time::Duration};

use smache_core::{
    Dependency, EntryId, Incarnation, Invalidated, Invalidation, Lane, Record, Result, Staleness, Timestamp, Via,
};

use super::{sink::JobSink, state::Cache};
use crate::namespace::shortened;

/// The most changes that a record names.
const KEPT_CAUSES: usize = 8;

/// The most bytes of a stored cause.
const KEPT_CAUSE: usize = 200;

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
                let to = if via == Via::Child { Staleness::MaybeStale } else { Staleness::Stale };
                if let Some(staleness) = self.mark(&id, to, Some(&cause), now) {
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
            if self.records.get(id).is_some_and(|slot| !slot.record.lazy) {
                sink.need(*id, lane(*staleness), Duration::ZERO);
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
            note(record, cause);
        }
        Some(record.entry.staleness)
    }
}

/// The lane of the job of a stale entry.
fn lane(staleness: Staleness) -> Lane {
    if staleness == Staleness::Stale { Lane::Recompute } else { Lane::Propagation }
}

fn kept_cause(cause: &Arc<str>) -> Arc<str> {
    if cause.len() <= KEPT_CAUSE { Arc::clone(cause) } else { shortened(cause, KEPT_CAUSE).into() }
}

fn note(record: &mut Record, cause: &Arc<str>) {
    if record.causes.last() != Some(cause) {
        if record.causes.len() >= KEPT_CAUSES {
            record.causes.remove(0);
        }
        record.causes.push(Arc::clone(cause));
    }
}

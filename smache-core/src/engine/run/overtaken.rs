//! A slow job that changes have overtaken ends early: its value would be stored as stale.
//!
//! A run that is under way asks the store from time to time which of its uses have changed. A change is no reason to
//! end if the sources and children still answer the same, as at the commit (see [`reread`](super::reread)), nor if the
//! answer is not known at the moment.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::Run;
use crate::{
    Cx, Dependency, EntryId, Result,
    engine::{nested::Compared, remembered},
    tracking::{Meta, StoredUses},
};

/// How long a run lasts before it asks for the first time: a shorter one just runs again.
const SLOW: Duration = Duration::from_millis(500);

/// A run asks again after a quarter of the time that it has lasted: at most that share of its work is in vain, and a
/// run of an hour asks some forty times.
const PART: u32 = 4;

/// How many entries are remembered whose last run ended early; beyond it no run ends early.
const MOST: usize = 10_000;

/// The entries whose last run in this process ended early. Their next run is not ended early, so that a value is stored
/// however often the data changes.
#[derive(Debug, Default)]
pub(crate) struct EndedEarly(Mutex<HashSet<EntryId>>);

impl EndedEarly {
    fn lock(&self) -> MutexGuard<'_, HashSet<EntryId>> {
        // Insertions and removals only: whole after a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room_for(&self, id: &EntryId) -> bool {
        let ended = self.lock();
        ended.len() < MOST && !ended.contains(id)
    }

    pub(super) fn add(&self, id: EntryId) {
        self.lock().insert(id);
    }

    pub(super) fn remove(&self, id: &EntryId) {
        self.lock().remove(id);
    }
}

enum Progress {
    /// No overtaking change up to this revision; the next question starts after it.
    Unchanged(u64),
    Unknown,
    Overtaken,
}

impl Run<'_> {
    /// Whether ending early helps. Without a stored value any value is better than none, and under constant changes a
    /// stale value is stored instead.
    pub(super) fn may_end_early(&self) -> bool {
        let begun = &self.begun;
        begun.conflicts == 0 && remembered::has_value(begun) && self.engine.ended_early.has_room_for(&self.key.id)
    }

    /// Waits until it is known that the value of the run would be stored as stale. Never returns otherwise, nor when
    /// there is no time left for another run: callers wait for a run no longer than one may take.
    pub(super) async fn overtaken(&self, cx: &Cx) {
        let begun = &self.begun;
        let cost =
            begun.entry.as_ref().and_then(|entry| Meta::read(&entry.meta)).map_or(Duration::ZERO, |meta| meta.cost);
        let mut revision = begun.start_revision;
        let mut lasted = Duration::ZERO;
        while lasted.saturating_add(cost) < self.function.timeout {
            let pause = SLOW.max(lasted / PART);
            tokio::time::sleep(pause).await;
            lasted += pause;
            match self.is_overtaken(cx, revision).await {
                Ok(Progress::Unchanged(until)) => revision = until,
                Ok(Progress::Unknown) => {}
                Ok(Progress::Overtaken) => return,
                Err(error) => {
                    tracing::debug!(function = self.function.name, error = %error.report(), "whether a run is overtaken is not known");
                }
            }
        }
        std::future::pending::<()>().await;
    }

    /// Whether changes after a revision have overtaken the run.
    async fn is_overtaken(&self, cx: &Cx, revision: u64) -> Result<Progress> {
        let mut used: Vec<Dependency> = match cx.tracked().used(self.engine.settings.max_dependencies) {
            StoredUses::All(used) | StoredUses::Coarse(used) => used.iter().map(|used| used.dependency).collect(),
            StoredUses::TooMuch(_) => return Ok(Progress::Unknown),
        };
        used.push(Dependency::entry(&self.key.id));
        let found = self.engine.timed("changed_since", self.engine.store.changed_since(revision, &used)).await?;
        if found.incarnation != self.begun.incarnation {
            return Ok(Progress::Overtaken);
        }
        if found.dependencies.is_empty() {
            return Ok(Progress::Unchanged(found.revision));
        }
        if cx.tracked().is_reading(&found.dependencies) {
            return Ok(Progress::Unknown);
        }
        let Some(again) = self.again(cx, &found.dependencies) else { return Ok(Progress::Overtaken) };
        Ok(match self.read_again(cx, again, found.revision).await {
            Some(Ok(Compared::Same(_))) => Progress::Unchanged(found.revision),
            Some(Ok(Compared::Changed)) => Progress::Overtaken,
            Some(Ok(Compared::Unknown) | Err(_)) | None => Progress::Unknown,
        })
    }
}

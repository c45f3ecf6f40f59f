//! A slow job that changes have overtaken ends early: what it would store is known to be stale.
//!
//! A run that is under way asks the store from time to time what of all that it has used so far has changed. What its sources
//! or its children show unchanged is no reason to end, as at its commit (see [`confirm`](super::confirm)); nor is what cannot be
//! known at the moment.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::Run;
use crate::{
    Begun, Cx, Dependency, EntryId, Result,
    cx::StoredUses,
    system::{Compared, Meta, remembered},
};

/// How long a run is under way before it asks for the first time: one that is shorter is run once more as soon.
const SLOW: Duration = Duration::from_millis(500);

/// A run asks after a quarter of the time that it has lasted: that is the most of its work that is in vain longer than need be,
/// and a run of an hour asks some forty times.
const PART: u32 = 4;

/// Of how many entries it is known that their last run ended early; beyond that no run does.
const MOST: usize = 10_000;

/// The entries whose last run in this process ended early. Their next one comes to its end, so that there is a value however often
/// something changes.
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
    /// Until that revision: what is asked for next is what changed after it.
    Unchanged(u64),
    Unknown,
    OnConflict,
}

impl Run<'_> {
    /// Whether ending early helps. Where there is no value yet any is better than none, and what changes all the time is stored as
    /// it is.
    pub(super) fn may_end_early(&self, begun: &Begun) -> bool {
        begun.conflicts == 0 && remembered::has_value(begun) && self.engine.ended_early.has_room_for(&self.id)
    }

    /// Until it is known that the value of the run would be stored as stale. Does not end otherwise, nor when there is no time for
    /// another run any more: those who wait for a run wait no longer than it may take.
    pub(super) async fn overtaken(&self, begun: &Begun, cx: &Cx) {
        let cost =
            begun.entry.as_ref().and_then(|entry| Meta::read(&entry.meta)).map_or(Duration::ZERO, |meta| meta.cost);
        let mut revision = begun.start_revision;
        let mut lasted = Duration::ZERO;
        while lasted.saturating_add(cost) < self.function.timeout {
            let pause = SLOW.max(lasted / PART);
            tokio::time::sleep(pause).await;
            lasted += pause;
            match self.is_overtaken(begun, cx, revision).await {
                Ok(Progress::Unchanged(until)) => revision = until,
                Ok(Progress::Unknown) => {}
                Ok(Progress::OnConflict) => return,
                Err(error) => {
                    tracing::debug!(function = self.function.name, error = %error.report(), "whether a run is overtaken is not known");
                }
            }
        }
        std::future::pending::<()>().await;
    }

    /// Whether changes after a revision have overtaken the run.
    async fn is_overtaken(&self, begun: &Begun, cx: &Cx, revision: u64) -> Result<Progress> {
        let mut used: Vec<Dependency> = match cx.tracked().used(self.engine.settings.max_dependencies) {
            StoredUses::All(used) | StoredUses::Coarse(used) => used.iter().map(|used| used.dependency).collect(),
            StoredUses::TooMuch(_) => return Ok(Progress::Unknown),
        };
        used.push(Dependency::entry(&self.id));
        let found = self.engine.timed("changed_since", self.engine.store.changed_since(revision, &used)).await?;
        if found.incarnation != begun.incarnation {
            return Ok(Progress::OnConflict);
        }
        if found.dependencies.is_empty() {
            return Ok(Progress::Unchanged(found.revision));
        }
        if cx.tracked().is_reading(&found.dependencies) {
            return Ok(Progress::Unknown);
        }
        let Some(again) = self.again(cx, &found.dependencies) else { return Ok(Progress::OnConflict) };
        Ok(match self.read_again(cx, again, found.revision).await {
            Some(Ok(Compared::Same(_))) => Progress::Unchanged(found.revision),
            Some(Ok(Compared::Changed)) => Progress::OnConflict,
            Some(Ok(Compared::Unknown) | Err(_)) | None => Progress::Unknown,
        })
    }
}

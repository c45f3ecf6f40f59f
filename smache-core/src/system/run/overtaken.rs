//! A slow run that changes have overtaken ends early: what it would store is known to be stale.
//!
//! A run that is under way asks the store from time to time what of all that it has used so far has changed. What its sources
//! or its children show unchanged is no reason to end, as at its commit (see [`confirm`](super::confirm)).

use std::time::Duration;

use super::Run;
use crate::{Begun, Cx, Dependency, Result, cx::StoredUses};

/// How long a run is under way before it asks for the first time: one that is shorter is run once more as soon.
const SLOW: Duration = Duration::from_millis(500);

/// A run asks after a quarter of the time that it has lasted: that is the most of its work that is in vain longer than need be,
/// and a run of an hour asks some forty times.
const PART: u32 = 4;

impl Run<'_> {
    /// Whether ending early helps: where there is no value yet any is better than none, and what changes all the time is stored
    /// as it is.
    pub(super) fn has_time(&self, begun: &Begun) -> bool {
        begun.conflicts == 0 && begun.entry.as_ref().is_some_and(|entry| !entry.is_expired(begun.now))
    }

    /// Until it is known that the value of the run would be stored as stale. Does not end otherwise.
    pub(super) async fn overtaken(&self, begun: &Begun, cx: &Cx) {
        let mut revision = begun.start_revision;
        let mut lasted = Duration::ZERO;
        loop {
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
        let Some(again) = self.again(cx, &found.dependencies) else { return Ok(Progress::OnConflict) };
        Ok(match self.read_again(cx, again, found.revision).await {
            Some(Ok(Some(_))) => Progress::Unchanged(found.revision),
            Some(Ok(None)) => Progress::OnConflict,
            // A source that fails says nothing of the run.
            Some(Err(_)) | None => Progress::Unknown,
        })
    }
}

enum Progress {
    /// Until that revision: what is asked for next may be what changed after it.
    Unchanged(u64),
    Unknown,
    OnConflict,
}

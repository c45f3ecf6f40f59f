//! The cases of a store and a queue of one backend that share their steps.

pub mod jobs;
pub mod maintenance;
pub mod running;

use std::sync::Arc;

use smache_core::{CacheStore, EntryId, JobQueue, Lane, Staleness};

use crate::{
    JoinedHarness,
    queue::reserve_for,
    steps::{LONG, look},
};

/// The two of a harness.
pub(crate) fn both(harness: &JoinedHarness) -> (&dyn CacheStore, &dyn JobQueue) {
    (&*harness.role().store, &*harness.role().queue)
}

/// Takes every due job: those of the propagation lane, and those of the recompute lane.
pub(crate) async fn due(queue: &dyn JobQueue) -> [Vec<EntryId>; 2] {
    let mut due = [Vec::new(), Vec::new()];
    for (ids, lane) in due.iter_mut().zip([Lane::Propagation, Lane::Recompute]) {
        ids.extend(reserve_for(queue, lane, 1_000, LONG).await.into_iter().map(|job| job.id));
        ids.sort();
    }
    due
}

/// Whether an entry is stale.
pub(crate) async fn is_stale(store: &Arc<dyn CacheStore>, id: EntryId) -> bool {
    look(&**store, id).await.is_some_and(|seen| seen.entry.staleness != Staleness::Fresh)
}

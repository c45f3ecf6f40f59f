//! **V**: a worker takes a job under a lease, keeps it, or vanishes.

use super::{
    mutant::off,
    parts::{JobStage, StoredJob},
};
use crate::{EntryId, Job, Timestamp, Token};

/// Gives a queued job to a worker, or a running one to the same worker again: the job that is stored, and the one that
/// the worker gets. A request that came meanwhile stays.
#[must_use]
pub fn reserve(id: EntryId, job: &StoredJob, token: Token, until: Timestamp) -> (StoredJob, Job) {
    let again = if let JobStage::Running { again, .. } = job.stage { again } else { None };
    let reserved = StoredJob { stage: JobStage::Running { token, until, again }, ..job.clone() };
    (reserved, Job { id, lane: job.lane, token, errors: job.errors, crashes: job.crashes })
}

/// The end of a reservation that is extended; nothing under another token.
#[must_use]
pub fn extend_job(job: &StoredJob, holder: Token, to: Timestamp) -> Option<StoredJob> {
    match job.stage {
        JobStage::Running { token, again, .. } if token == holder => {
            Some(StoredJob { stage: JobStage::Running { token, until: to, again }, ..job.clone() })
        }
        _ => None,
    }
}

/// The job of a vanished worker, back in the queue: due now, as urgent as it or the request that came meanwhile.
/// Nothing while the reservation holds.
#[must_use]
pub fn put_back(job: &StoredJob, now: Timestamp) -> Option<StoredJob> {
    let JobStage::Running { until, again, .. } = job.stage else { return None };
    if until > now || off!(LapsedJobForgotten, false, true) {
        return None;
    }
    let mut queued = StoredJob { stage: JobStage::Queued { due: now }, ..job.clone() };
    queued.crashes = queued.crashes.saturating_add(1);
    if let Some(again) = again {
        queued.lane = queued.lane.min(again.lane);
        queued.priority = queued.priority.min(again.priority);
    }
    Some(queued)
}

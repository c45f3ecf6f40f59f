//! **J**: a request merges with the job of its entry. There is at most one.

use super::{
    mutant::off,
    parts::{JobStage, JobWrite, Request, StoredJob},
};
use crate::{Enqueued, Timestamp};

/// The plan of a request: the job that is stored, and what to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// Replaces the job of the entry; `None` leaves it unchanged.
    pub job: Option<StoredJob>,
    /// The answer.
    pub outcome: Enqueued,
}

/// Something happened: a queued job becomes due earlier and more urgent, a running one runs once more, a dead letter
/// starts again.
#[must_use]
pub fn request(present: Option<&StoredJob>, request: Request) -> Requested {
    let Some(job) = present else {
        return Requested { job: Some(StoredJob::new(request)), outcome: Enqueued::Queued };
    };
    let mut merged = job.clone();
    let outcome = match &mut merged.stage {
        JobStage::Queued { due } => {
            *due = request.due.min(*due);
            merged.lane = job.lane.min(request.lane);
            merged.priority = job.priority.min(request.priority);
            Enqueued::Merged
        }
        JobStage::Running { .. } if off!(RunningJobMerges, false, true) => Enqueued::Merged,
        JobStage::Running { again, .. } => {
            *again = Some(again.map_or(request, |before| Request {
                due: before.due.min(request.due),
                lane: before.lane.min(request.lane),
                priority: before.priority.min(request.priority),
            }));
            Enqueued::Again
        }
        JobStage::DeadLetter { .. } => {
            merged = StoredJob::new(request);
            Enqueued::Queued
        }
    };
    Requested { job: (merged != *job).then_some(merged), outcome }
}

/// A safety net: adds a job only where there is none in any state.
#[must_use]
pub fn ensure(present: Option<&StoredJob>, new: Request) -> Requested {
    match present.map(|job| &job.stage) {
        None => request(None, new),
        Some(JobStage::Queued { .. } | JobStage::Running { .. }) => Requested { job: None, outcome: Enqueued::Merged },
        Some(JobStage::DeadLetter { .. }) => Requested { job: None, outcome: Enqueued::DeadLetter },
    }
}

/// The job after its entry became fresh or went: a queued job and a dead letter go, a running one does not run again.
#[must_use]
pub fn take_back(job: &StoredJob) -> Option<StoredJob> {
    match job.stage {
        JobStage::Running { token, until, .. } => {
            Some(StoredJob { stage: JobStage::Running { token, until, again: None }, ..job.clone() })
        }
        JobStage::Queued { .. } | JobStage::DeadLetter { .. } => None,
    }
}

/// The job of an entry after a step on the entry; `None` where there is none any more.
#[must_use]
pub fn job_write(present: Option<&StoredJob>, write: JobWrite, now: Timestamp) -> Option<StoredJob> {
    let requested = match write {
        JobWrite::Keep => return present.cloned(),
        JobWrite::TakeBack => return present.and_then(take_back),
        JobWrite::Need { lane, after } => request(present, JobWrite::request(lane, now.after(after))),
        JobWrite::NeedAfterRun { lane, after } => ensure(present, JobWrite::request(lane, now.after(after))),
    };
    requested.job.or_else(|| present.cloned())
}

/// A dead letter starts again; nothing in another state.
#[must_use]
pub fn requeue(job: &StoredJob, now: Timestamp) -> Option<StoredJob> {
    matches!(job.stage, JobStage::DeadLetter { .. }).then(|| {
        let mut again = StoredJob { stage: JobStage::Queued { due: now }, ..job.clone() };
        again.forgive();
        again
    })
}

/// Whether a job may be forgotten: a running one is settled by its worker.
#[must_use]
pub fn discard(job: &StoredJob) -> bool {
    !matches!(job.stage, JobStage::Running { .. })
}

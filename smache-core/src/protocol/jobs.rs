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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Lane,
        protocol::testing::{at, ms, token},
    };

    fn asked(due: u64, lane: Lane, priority: u8) -> Request {
        Request { due: at(due), lane, priority }
    }

    fn job(stage: JobStage) -> StoredJob {
        let request = asked(50, Lane::Recompute, 4);
        StoredJob { stage, errors: 2, crashes: 1, error: Some("out of paper".to_owned()), ..StoredJob::new(request) }
    }

    fn queued() -> StoredJob {
        job(JobStage::Queued { due: at(50) })
    }

    fn running(again: Option<Request>) -> StoredJob {
        job(JobStage::Running { token: token(1), until: at(100), again })
    }

    fn dead() -> StoredJob {
        job(JobStage::DeadLetter { at: at(40) })
    }

    #[test]
    fn a_request_adds_merges_runs_once_more_or_revives() {
        let new = asked(30, Lane::Propagation, 9);
        let added = Requested { job: Some(StoredJob::new(new)), outcome: Enqueued::Queued };
        assert_eq!(request(None, new), added);
        assert_eq!(request(Some(&dead()), new), added, "as if it had never failed");

        let merged = request(Some(&queued()), new);
        let job = StoredJob { lane: Lane::Propagation, stage: JobStage::Queued { due: at(30) }, ..queued() };
        assert_eq!(merged, Requested { job: Some(job), outcome: Enqueued::Merged });
        let later = request(Some(&queued()), asked(60, Lane::Recompute, 9));
        assert_eq!(later, Requested { job: None, outcome: Enqueued::Merged }, "it changes nothing");

        let once = request(Some(&running(None)), new);
        assert_eq!(once, Requested { job: Some(running(Some(new))), outcome: Enqueued::Again });
        let twice = request(once.job.as_ref(), asked(20, Lane::Recompute, 1));
        assert_eq!(twice.job, Some(running(Some(asked(20, Lane::Propagation, 1)))));
    }

    #[test]
    fn a_safety_net_changes_nothing_where_a_job_is() {
        let new = asked(30, Lane::Propagation, 0);
        assert_eq!(ensure(None, new), request(None, new));
        for (present, outcome) in
            [(queued(), Enqueued::Merged), (running(None), Enqueued::Merged), (dead(), Enqueued::DeadLetter)]
        {
            assert_eq!(ensure(Some(&present), new), Requested { job: None, outcome });
        }
    }

    #[test]
    fn a_step_on_an_entry_writes_its_job() {
        let (lane, after) = (Lane::Recompute, ms(5));
        let due = StoredJob::new(asked(65, lane, crate::support::limits::USUAL_PRIORITY));
        assert_eq!(job_write(None, JobWrite::Need { lane, after }, at(60)), Some(due.clone()));
        assert_eq!(job_write(Some(&dead()), JobWrite::Need { lane, after }, at(60)), Some(due.clone()));
        assert_eq!(job_write(None, JobWrite::NeedAfterRun { lane, after }, at(60)), Some(due));
        assert_eq!(job_write(Some(&dead()), JobWrite::NeedAfterRun { lane, after }, at(60)), Some(dead()));
        assert_eq!(job_write(Some(&queued()), JobWrite::Keep, at(60)), Some(queued()));
        for present in [queued(), dead()] {
            assert_eq!(job_write(Some(&present), JobWrite::TakeBack, at(60)), None);
        }
        let again = running(Some(asked(30, lane, 0)));
        assert_eq!(job_write(Some(&again), JobWrite::TakeBack, at(60)), Some(running(None)));
    }

    #[test]
    fn only_dead_letters_are_requeued_and_no_running_job_is_discarded() {
        let again = requeue(&dead(), at(60)).expect("a dead letter");
        assert_eq!(again, StoredJob::new(asked(60, Lane::Recompute, 4)));
        assert!(requeue(&queued(), at(60)).is_none() && requeue(&running(None), at(60)).is_none());
        assert!(discard(&queued()) && discard(&dead()) && !discard(&running(None)));
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Lane,
        protocol::{
            parts::Request,
            testing::{ID, at, token},
        },
    };

    fn urgent() -> Request {
        Request { due: at(30), lane: Lane::Propagation, priority: 1 }
    }

    fn running(until: u64, again: Option<Request>) -> StoredJob {
        let stage = JobStage::Running { token: token(1), until: at(until), again };
        StoredJob { stage, errors: 2, ..StoredJob::new(Request { due: at(0), lane: Lane::Recompute, priority: 4 }) }
    }

    #[test]
    fn a_reserved_job_keeps_its_counters_and_a_request_that_came_meanwhile() {
        let queued = StoredJob { stage: JobStage::Queued { due: at(0) }, ..running(0, None) };
        let (stored, job) = reserve(ID, &queued, token(1), at(100));
        assert_eq!(stored, running(100, None));
        assert_eq!((job.lane, job.token, job.errors, job.crashes), (Lane::Recompute, token(1), 2, 0));
        let (stored, _) = reserve(ID, &running(50, Some(urgent())), token(1), at(100));
        assert_eq!(stored, running(100, Some(urgent())), "reserved again");
    }

    #[test]
    fn a_reservation_is_extended_by_its_token_only() {
        assert_eq!(extend_job(&running(50, Some(urgent())), token(1), at(70)), Some(running(70, Some(urgent()))));
        assert_eq!(extend_job(&running(50, None), token(2), at(70)), None);
        assert_eq!(extend_job(&StoredJob::new(urgent()), token(1), at(70)), None);
    }

    #[test]
    fn the_job_of_a_vanished_worker_is_due_at_once_with_the_request_that_came_meanwhile() {
        assert_eq!(put_back(&running(50, None), at(49)), None);
        assert_eq!(put_back(&StoredJob::new(urgent()), at(49)), None);
        let back = put_back(&running(50, Some(urgent())), at(50)).expect("it lapsed");
        assert_eq!(back.stage, JobStage::Queued { due: at(50) });
        assert_eq!((back.lane, back.priority, back.errors, back.crashes), (Lane::Propagation, 1, 2, 1));
    }
}

//! **S**: a worker ends its reservation.

use super::{
    mutant::off,
    parts::{JobStage, Request, StoredJob},
};
use crate::{
    JobEnd, Settled, Timestamp, Token,
    support::{clip, limits::ERROR_BYTES},
};

/// The plan of a settlement: the job that is stored, and what to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settling {
    /// Takes the place of the job; `None`: it goes. Without meaning when the answer is `Lost`, which writes nothing.
    pub job: Option<StoredJob>,
    /// The answer.
    pub outcome: Settled,
}

/// Ends a reservation. A job that was requested meanwhile is queued once more, whatever the end.
#[must_use]
pub fn settle(present: Option<&StoredJob>, token: Token, end: &JobEnd, now: Timestamp) -> Settling {
    let held = present.and_then(|job| match job.stage {
        JobStage::Running { token: held, again, .. } if off!(JobTokenIgnored, held == token, true) => {
            Some((job.clone(), again))
        }
        _ => None,
    });
    let Some((mut job, again)) = held else { return Settling { job: None, outcome: Settled::Lost } };
    let own_due = match end {
        JobEnd::Done => {
            job.forgive();
            None
        }
        JobEnd::Release { delay } => Some(now.after(*delay)),
        JobEnd::Retry { delay, error } => {
            job.errors = job.errors.saturating_add(1);
            job.error = Some(clip(error, ERROR_BYTES).to_owned());
            Some(now.after(*delay))
        }
        JobEnd::DeadLetter { error } => {
            if again.is_none() {
                job.error = Some(clip(error, ERROR_BYTES).to_owned());
                job.stage = JobStage::DeadLetter { at: now };
                return Settling { job: Some(job), outcome: Settled::Settled };
            }
            // As a change of a dead letter: it starts again.
            job.forgive();
            None
        }
    };
    let due = match (again, own_due) {
        (None, None) => return Settling { job: None, outcome: Settled::Settled },
        (Some(again), None) => again.due,
        (None, Some(own)) => own,
        // A failed job backs off although its data changed; a released one need not wait.
        (Some(again), Some(own)) if matches!(end, JobEnd::Retry { .. }) => again.due.max(own),
        (Some(again), Some(own)) => again.due.min(own),
    };
    if let Some(Request { lane, priority, .. }) = again {
        job.lane = if own_due.is_some() { job.lane.min(lane) } else { lane };
        job.priority = priority.min(job.priority);
    }
    job.stage = JobStage::Queued { due };
    let outcome = if again.is_some() { Settled::Again } else { Settled::Settled };
    Settling { job: Some(job), outcome }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Lane,
        protocol::testing::{at, ms, token},
    };

    fn running(again: Option<Request>) -> StoredJob {
        let stage = JobStage::Running { token: token(1), until: at(100), again };
        let request = Request { due: at(0), lane: Lane::Recompute, priority: 4 };
        StoredJob { stage, errors: 2, crashes: 1, ..StoredJob::new(request) }
    }

    fn retry() -> JobEnd {
        JobEnd::Retry { delay: ms(20), error: "out of paper".to_owned() }
    }

    fn dead_letter() -> JobEnd {
        JobEnd::DeadLetter { error: "out of paper".to_owned() }
    }

    fn end(again: Option<Request>, end: &JobEnd) -> Settling {
        settle(Some(&running(again)), token(1), end, at(60))
    }

    #[test]
    fn nothing_is_settled_without_the_token() {
        let lost = Settling { job: None, outcome: Settled::Lost };
        assert_eq!(settle(Some(&running(None)), token(2), &JobEnd::Done, at(60)), lost);
        assert_eq!(settle(None, token(1), &JobEnd::Done, at(60)), lost);
        let queued = StoredJob { stage: JobStage::Queued { due: at(0) }, ..running(None) };
        assert_eq!(settle(Some(&queued), token(1), &JobEnd::Done, at(60)), lost);
    }

    #[test]
    fn a_job_goes_waits_or_becomes_a_dead_letter() {
        assert_eq!(end(None, &JobEnd::Done), Settling { job: None, outcome: Settled::Settled });
        let released = end(None, &JobEnd::Release { delay: ms(10) }).job.expect("released");
        assert_eq!((released.stage, released.errors), (JobStage::Queued { due: at(70) }, 2));
        let retried = end(None, &retry()).job.expect("tried again");
        assert_eq!((retried.stage, retried.errors, retried.crashes), (JobStage::Queued { due: at(80) }, 3, 1));
        let dead = end(None, &dead_letter()).job.expect("kept");
        assert_eq!((dead.stage, dead.error.as_deref()), (JobStage::DeadLetter { at: at(60) }, Some("out of paper")));
    }

    #[test]
    fn a_job_that_was_requested_meanwhile_runs_once_more() {
        let again = Request { due: at(65), lane: Lane::Propagation, priority: 6 };
        for (how, due, lane, errors) in [
            (JobEnd::Done, 65, Lane::Propagation, 0),
            (JobEnd::Release { delay: ms(100) }, 65, Lane::Propagation, 2),
            (retry(), 80, Lane::Propagation, 3),
            (dead_letter(), 65, Lane::Propagation, 0),
        ] {
            let settling = end(Some(again), &how);
            let job = settling.job.expect("queued");
            assert_eq!(settling.outcome, Settled::Again);
            assert_eq!((job.stage, job.lane, job.errors), (JobStage::Queued { due: at(due) }, lane, errors), "{how:?}");
            assert_eq!(job.priority, 4, "as urgent as the most urgent of both");
        }
        let slow = Request { lane: Lane::Recompute, ..again };
        let fast = StoredJob { lane: Lane::Propagation, ..running(Some(slow)) };
        let lane = |end: &JobEnd| settle(Some(&fast), token(1), end, at(60)).job.map(|job| job.lane);
        assert_eq!(lane(&JobEnd::Done), Some(Lane::Recompute), "the next run alone");
        assert_eq!(lane(&retry()), Some(Lane::Propagation), "both runs");
    }
}

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

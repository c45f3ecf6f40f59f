//! **A**: a run ends without a value: it gives up, its lease lapsed, or its entry is removed.

use super::parts::{Head, JobWrite, Run};
use crate::{
    Abort, RunFailure, Timestamp, Token, Validity,
    support::{
        clip,
        limits::{ERROR_BYTES, REAP_AFTER},
    },
};

/// What the end of a run reads.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// The store's time.
    pub now: Timestamp,
    /// The present run of the entry.
    pub run: Option<&'a Run>,
    /// The present record of the entry.
    pub head: Option<&'a Head>,
    /// The present epochs.
    pub validity: &'a Validity,
}

/// The writes of an abort: the run goes as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aborting {
    /// Replaces the head of the record, if the failure is recorded on it.
    pub head: Option<Head>,
    /// The job of the entry.
    pub job: JobWrite,
}

/// Gives a run up; nothing without its token. The stored value stays.
#[must_use]
pub fn abort(view: &Ended<'_>, abort: &Abort) -> Option<Aborting> {
    view.run.filter(|run| run.token == abort.token)?;
    let failed = view.head.zip(abort.failure.as_ref()).map(|(head, message)| Head {
        failures: head.failures.saturating_add(1),
        last_failure: Some(RunFailure { message: clip(message, ERROR_BYTES).to_owned(), at: view.now }),
        ..head.clone()
    });
    let lane = view.head.and_then(|head| head.lane_after_run(view.validity));
    let job = lane.map_or(JobWrite::Keep, |lane| JobWrite::NeedAfterRun { lane, after: abort.delay });
    Some(Aborting { head: failed, job })
}

/// Ends a run whose lease lapsed some time ago; nothing before. Its owner may be late and not dead.
#[must_use]
pub fn reap(view: &Ended<'_>) -> Option<JobWrite> {
    view.run.filter(|run| run.until.after(REAP_AFTER) < view.now)?;
    let lane = view.head.and_then(|head| head.lane_after_run(view.validity));
    Some(lane.map_or(JobWrite::Keep, |lane| JobWrite::NeedAfterRun { lane, after: std::time::Duration::ZERO }))
}

/// Whether the entry may be removed, by the run of that token or by anyone. Its run, its record, its edges and its job
/// go together, so the run cannot bring it back.
#[must_use]
pub fn may_remove(run: Option<&Run>, token: Option<Token>) -> bool {
    token.is_none_or(|token| run.is_some_and(|run| run.token == token))
}

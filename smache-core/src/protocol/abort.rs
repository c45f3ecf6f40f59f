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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Lane, Staleness,
        protocol::testing::{ID, at, epoch, head, ms, run, token, validity},
    };

    fn given_up(number: u8, failure: Option<&str>) -> Abort {
        Abort { id: ID, token: token(number), failure: failure.map(str::to_owned), delay: ms(9) }
    }

    #[test]
    fn an_abort_needs_the_token_and_leaves_a_stale_entry_with_a_job() {
        let (validity, present, stale) = (validity(), run(1), head(Staleness::MaybeStale));
        let ended = Ended { now: at(50), run: Some(&present), head: Some(&stale), validity: &validity };
        assert_eq!(abort(&ended, &given_up(2, None)), None);
        let job = JobWrite::NeedAfterRun { lane: Lane::Propagation, after: ms(9) };
        assert_eq!(abort(&ended, &given_up(1, None)), Some(Aborting { head: None, job }));

        let fresh = head(Staleness::Fresh);
        let ended = Ended { head: Some(&fresh), ..ended };
        let Some(Aborting { head: Some(failed), job }) = abort(&ended, &given_up(1, Some("out of paper"))) else {
            panic!("a failure is recorded")
        };
        assert_eq!((failed.failures, failed.staleness, job), (2, Staleness::Fresh, JobWrite::Keep));
        assert_eq!(failed.last_failure.map(|failure| failure.message).as_deref(), Some("out of paper"));
    }

    #[test]
    fn an_entry_of_an_old_epoch_has_a_job_unless_it_waits_for_a_reader() {
        let (mut validity, present, old) = (validity(), run(1), head(Staleness::Fresh));
        validity.epoch = epoch(2);
        let ended = Ended { now: at(50), run: Some(&present), head: Some(&old), validity: &validity };
        let job = abort(&ended, &given_up(1, None)).map(|aborting| aborting.job);
        assert_eq!(job, Some(JobWrite::NeedAfterRun { lane: Lane::Recompute, after: ms(9) }));
        let lazy = Head { lazy: true, ..old.clone() };
        let ended = Ended { head: Some(&lazy), ..ended };
        assert_eq!(abort(&ended, &given_up(1, None)).map(|aborting| aborting.job), Some(JobWrite::Keep));
    }

    #[test]
    fn a_run_is_reaped_a_while_after_its_lease() {
        let (validity, present) = (validity(), run(1));
        let lapsed = present.until.after(REAP_AFTER);
        let ended = Ended { now: lapsed, run: Some(&present), head: None, validity: &validity };
        assert_eq!(reap(&ended), None);
        assert_eq!(reap(&Ended { now: lapsed.after(ms(1)), ..ended }), Some(JobWrite::Keep));
        assert_eq!(reap(&Ended { now: lapsed.after(ms(1)), run: None, ..ended }), None);
    }

    #[test]
    fn only_its_present_run_removes_an_entry_by_a_token() {
        let present = run(1);
        assert!(may_remove(None, None) && may_remove(Some(&present), None));
        assert!(may_remove(Some(&present), Some(token(1))));
        assert!(!may_remove(Some(&present), Some(token(2))) && !may_remove(None, Some(token(1))));
    }
}

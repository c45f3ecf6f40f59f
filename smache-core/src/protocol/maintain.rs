//! **M**: maintenance, piece by piece; any number of processes may do it.
//!
//! Reaping is an end of a run ([`reap`](super::reap)); redoing an invalidation whose author died is a walk over its
//! dependants and the last step of [`revise`](super::revise), which withdraws the mark that was read.

use std::sync::Arc;

use super::{
    invalidate::mark,
    mutant::off,
    parts::{Head, JobWrite, Run},
};
use crate::{Timestamp, Validity, Via};

/// Whether an expired entry goes. A run keeps it: readers see the value until the run replaces it.
#[must_use]
pub fn is_removed(head: &Head, run: Option<&Run>, now: Timestamp) -> bool {
    head.expires.is_some_and(|expires| expires <= now) && run.is_none_or(|run| !run.holds(now))
}

/// Up to which revision invalidations are forgotten, which becomes the low watermark if it is higher than that: no
/// present run compares with them. Runs count until they are reaped, since a lapsed lease may still commit.
pub fn trim<'a>(revision: u64, now: Timestamp, runs: impl IntoIterator<Item = &'a Run>) -> u64 {
    let counts = |run: &&Run| off!(TrimIgnoresRuns, true, false) && off!(TrimIgnoresLapsed, true, run.holds(now));
    runs.into_iter().filter(counts).map(|run| run.start_revision).min().unwrap_or(revision)
}

/// The low watermark after trimming.
#[must_use]
pub fn raised(low_watermark: u64, trimmed: u64) -> u64 {
    off!(TrimWithoutWatermark, low_watermark.max(trimmed), low_watermark)
}

/// Marks an entry of an old epoch; nothing where the epochs are the present ones. Answers its job.
pub fn sweep(head: &mut Head, validity: &Validity, cause: &Arc<str>, now: Timestamp) -> Option<JobWrite> {
    if off!(NoSweep, validity.has_epochs(&head.epochs), true) {
        return None;
    }
    Some(mark(head, Via::Direct, Some(cause), now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Lane, Staleness,
        protocol::testing::{at, epoch, head, ms, run, validity},
    };

    #[test]
    fn a_run_keeps_its_expired_entry() {
        let expired = Head { expires: Some(at(90)), ..head(Staleness::Fresh) };
        let present = run(1);
        assert!(!is_removed(&expired, None, at(89)) && is_removed(&expired, None, at(90)));
        assert!(!is_removed(&expired, Some(&present), at(99)), "its lease ends at 100");
        assert!(is_removed(&expired, Some(&present), at(100)));
        assert!(!is_removed(&head(Staleness::Stale), None, at(1_000)));
    }

    #[test]
    fn trimming_spares_what_the_oldest_run_compares_with_lapsed_or_not() {
        let old = run(1);
        let young = Run { start_revision: 8, until: at(1_000), ..run(2) };
        assert_eq!(trim(9, at(500), []), 9);
        assert_eq!(trim(9, at(500), [&young, &old]), 5);
        assert_eq!((raised(2, 5), raised(7, 5)), (5, 7));
    }

    #[test]
    fn entries_of_old_epochs_are_marked() {
        let mut validity = validity();
        let cause: Arc<str> = "new epoch".into();
        let mut entry = head(Staleness::Fresh);
        assert_eq!(sweep(&mut entry, &validity, &cause, at(60)), None);
        validity.epoch = epoch(2);
        let job = JobWrite::Need { lane: Lane::Recompute, after: ms(0) };
        assert_eq!(sweep(&mut entry, &validity, &cause, at(60)), Some(job));
        assert_eq!((entry.staleness, entry.since), (Staleness::Stale, Some(at(60))));
    }
}

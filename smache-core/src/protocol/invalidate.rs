//! **I**: a change makes its dependants stale.
//!
//! Up to a page of dependants, it is one step: [`mark`] each of them, then [`revise`], then save the progress of the
//! feed. Beyond, it takes several: marks on all changed dependencies first, the dependants page by page while the marks
//! are renewed, and revision, progress and the end of the marks in the last one. A commit that meets a mark conflicts, so no
//! value that is stored behind a page is fresh.

use std::sync::Arc;

use super::{
    mutant::off,
    parts::{Head, JobWrite},
};
use crate::{
    ChangedDependency, Dependency, InvalidationAttempt, Staleness, Timestamp, Via,
    support::{
        kept_cause,
        limits::{MARK_LIFETIME, MARK_RENEWAL},
        note_cause,
    },
};

/// The mark of an attempt on a dependency that it changes: an invalidation of several steps is under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mark {
    /// After it, maintenance takes the author for dead and does the invalidation again.
    pub deadline: Timestamp,
    /// The cause that the dependants get.
    pub cause: Arc<str>,
}

impl Mark {
    /// Whether maintenance does the invalidation again.
    #[must_use]
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.deadline <= now
    }
}

/// How an invalidation begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// All dependants are marked in one step, which is also the last one.
    OneStep,
    /// The changed dependencies get marks until the deadline, and nothing else happens.
    Announced {
        /// After it, maintenance takes the author for dead and does the invalidation again.
        deadline: Timestamp,
    },
}

/// Begins an invalidation of so many dependants.
#[must_use]
pub fn open(dependants: usize, page: usize, now: Timestamp) -> Opening {
    if dependants <= page { Opening::OneStep } else { Opening::Announced { deadline: now.after(MARK_LIFETIME) } }
}

/// The marks of an attempt, on all changed dependencies: it writes them before it marks the first dependant, and again
/// under each later deadline.
#[must_use]
pub fn announce(changed: &[ChangedDependency], deadline: Timestamp) -> Vec<(Dependency, Mark)> {
    let mark = |changed: &ChangedDependency| (changed.dependency, Mark { deadline, cause: kept_cause(&changed.cause) });
    off!(NoMarks, changed.iter().map(mark).collect(), Vec::new())
}

/// Whether an attempt that comes to its end withdraws the mark of that name from a dependency that it has changed: its
/// own, or one of an earlier attempt of the same feed, whose dependants it has found as well.
#[must_use]
pub fn withdraws(attempt: &InvalidationAttempt, mark: &[u8]) -> bool {
    off!(EveryMarkWithdrawn, attempt.ends(mark), true)
}

/// The next deadline of the marks of a walk, once a third of their life is over.
#[must_use]
pub fn renew_marks(deadline: Timestamp, now: Timestamp) -> Option<Timestamp> {
    (now.after(MARK_LIFETIME - MARK_RENEWAL) >= deadline).then(|| now.after(MARK_LIFETIME))
}

/// Marks a dependant: at least as stale as the edge says, and never skipped because it is stale already, since a run
/// that began before may be about to store it. Answers its job.
pub fn mark(head: &mut Head, via: Via, cause: Option<&Arc<str>>, now: Timestamp) -> JobWrite {
    if off!(StaleSkipped, false, head.staleness != Staleness::Fresh) {
        return JobWrite::Keep;
    }
    let staleness = off!(DirectIsMaybe, Staleness::by(via), Staleness::MaybeStale);
    head.staleness = head.staleness.max(staleness);
    head.since = head.since.or(Some(now));
    if let Some(cause) = cause {
        note_cause(&mut head.causes, cause);
    }
    off!(ChangeWithoutJob, head.need(), JobWrite::Keep)
}

/// The revision of the changed dependencies, after all dependants are marked.
#[must_use]
pub fn revise(revision: u64) -> u64 {
    off!(RevisionStays, revision + 1, revision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Lane,
        protocol::testing::{at, head, ms},
    };

    fn need(lane: Lane) -> JobWrite {
        JobWrite::Need { lane, after: ms(0) }
    }

    #[test]
    fn a_dependant_is_as_stale_as_its_edge_says_and_never_less() {
        let cause: Arc<str> = "a change".into();
        let mut fresh = head(Staleness::Fresh);
        assert_eq!(mark(&mut fresh, Via::Child, Some(&cause), at(60)), need(Lane::Propagation));
        assert_eq!((fresh.staleness, fresh.since), (Staleness::MaybeStale, Some(at(60))));
        assert_eq!(mark(&mut fresh, Via::Direct, Some(&cause), at(70)), need(Lane::Recompute));
        assert_eq!((fresh.staleness, fresh.since), (Staleness::Stale, Some(at(60))), "since the first change");
        assert_eq!(mark(&mut fresh, Via::Child, None, at(80)), need(Lane::Recompute));
        assert_eq!(fresh.causes.last(), Some(&cause));
        let mut lazy = Head { lazy: true, ..head(Staleness::Fresh) };
        assert_eq!(mark(&mut lazy, Via::Direct, None, at(60)), JobWrite::Keep);
    }

    #[test]
    fn more_dependants_than_a_page_are_announced_and_the_marks_renewed_in_time() {
        assert_eq!(open(3, 3, at(0)), Opening::OneStep);
        let Opening::Announced { deadline } = open(4, 3, at(0)) else { panic!("more than a page") };
        assert_eq!(deadline, at(0).after(MARK_LIFETIME));
        let soon = at(0).after(MARK_RENEWAL);
        assert_eq!(renew_marks(deadline, soon.before(ms(1))), None);
        assert_eq!(renew_marks(deadline, soon), Some(soon.after(MARK_LIFETIME)));
        assert_eq!(revise(9), 10);
    }
}

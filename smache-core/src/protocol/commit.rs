//! **C**: a run stores its value, validated against every change since its begin.

use super::{
    mutant::off,
    parts::{ChangeLog, Head, JobWrite, Run},
};
use crate::{
    Commit, CommitOutcome, Dependency, Incarnation, Lane, OnConflict, Staleness, Timestamp, UsedDependency, Validity,
    Via,
    support::{distinct, edges, limits::NAMED_CONFLICTS},
};

/// What a commit reads.
#[derive(Debug)]
pub struct CommitView<'a, C> {
    /// The store's time.
    pub now: Timestamp,
    /// The store's incarnation.
    pub incarnation: &'a Incarnation,
    /// The present run of the entry.
    pub run: Option<&'a Run>,
    /// The present record of the entry.
    pub head: Option<&'a Head>,
    /// The present epochs.
    pub validity: &'a Validity,
    /// The changes of the used dependencies.
    pub changes: &'a C,
}

/// The plan of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committing {
    /// Nothing is written.
    Refused(CommitOutcome),
    /// The run ends and the value is stored.
    Stored(Box<Stored>),
}

/// The writes of a commit that stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Replaces the head of the record; the value, the notes and the call are those of the commit.
    pub head: Head,
    /// All edges of the entry, also of a stale value: the next change has to find it.
    pub edges: Vec<UsedDependency>,
    /// The job of the entry.
    pub job: JobWrite,
    /// The answer.
    pub outcome: CommitOutcome,
}

/// Commits a run.
///
/// A lapsed lease that no other run took still holds: it kept its changes from being trimmed.
pub fn commit(view: &CommitView<'_, impl ChangeLog>, commit: &Commit) -> Committing {
    let refused = Committing::Refused;
    if off!(CommitOnAnyIncarnation, commit.incarnation != *view.incarnation) {
        return refused(CommitOutcome::OtherIncarnation);
    }
    match view.run {
        Some(run)
            if off!(TokenIgnored, run.token == commit.token && run.start_revision == commit.start_revision, true) => {}
        None if off!(LostRunAccepted, false, true) => {}
        _ => return refused(CommitOutcome::Lost),
    }
    let CommitView { now, changes, .. } = *view;
    let conflicts = commit.used.iter().filter(|used| changes.conflicts_with(&used.dependency, commit.version));
    let conflicts: Vec<UsedDependency> = conflicts.copied().collect();
    let changed = |most| distinct(conflicts.iter().map(|used| used.dependency), most);
    let has_epochs = off!(EpochsIgnored, view.validity.has_epochs(&commit.epochs), true);
    let dependencies = changed(OnConflict::MAX_REPORTED + 1);
    if commit.is_reported(has_epochs, changes.low_watermark(), dependencies.len()) {
        return refused(CommitOutcome::ConflictReported { now, revision: changes.revision(), dependencies });
    }
    let staleness = commit.staleness(has_epochs, &conflicts);
    let stored = |job, edges, outcome| {
        let head = replaced(view.head, commit, staleness, now);
        Committing::Stored(Box::new(Stored { head, edges, job, outcome }))
    };
    let edges = off!(NoEdges, edges(&commit.used), Vec::new());
    let Some(lane) = staleness.lane() else {
        return stored(JobWrite::TakeBack, edges, CommitOutcome::Fresh { now });
    };
    let job = if off!(StaleWithoutJob, commit.lazy, true) {
        JobWrite::Keep
    } else {
        JobWrite::Need { lane, after: commit.conflict_delay }
    };
    let edges = off!(StaleWithoutEdges, edges, Vec::new());
    stored(job, edges, CommitOutcome::Conflicted { now, dependencies: changed(NAMED_CONFLICTS) })
}

/// The head of the record that a commit stores in the place of another one.
fn replaced(old: Option<&Head>, commit: &Commit, staleness: Staleness, now: Timestamp) -> Head {
    let fresh = staleness == Staleness::Fresh;
    let old = old.filter(|_| !fresh);
    Head {
        version: commit.version,
        epochs: commit.epochs.clone(),
        staleness,
        since: old.and_then(|old| old.since).or(Some(now)).filter(|_| !fresh),
        stored_at: now,
        expires: commit.expires(now),
        lazy: commit.lazy,
        conflicts: if fresh { 0 } else { old.map_or(0, |old| old.conflicts).saturating_add(1) },
        failures: 0,
        last_failure: None,
        causes: old.map(|old| old.causes.clone()).unwrap_or_default(),
    }
}

impl Commit {
    /// How stale the value is stored: whether the epochs of begin are the present ones, and which used dependencies
    /// have changed after its version, or may have.
    pub fn staleness<'a>(
        &self,
        has_epochs: bool,
        conflicts: impl IntoIterator<Item = &'a UsedDependency>,
    ) -> Staleness {
        if off!(TaintIgnored, self.tainted) || !has_epochs {
            return Staleness::Stale;
        }
        let by = |used: &UsedDependency| off!(DirectConflictIsMaybe, Staleness::by(used.via), Staleness::MaybeStale);
        conflicts.into_iter().map(by).max().unwrap_or(Staleness::Fresh)
    }

    /// Whether the answer is [`CommitOutcome::ConflictReported`]: the commit asks for it, and changes of so many
    /// dependencies, which are few, are the only objection to the value.
    #[must_use]
    pub fn is_reported(&self, has_epochs: bool, low_watermark: u64, changed: usize) -> bool {
        self.on_conflict == OnConflict::Report
            && !self.tainted
            && has_epochs
            && self.version >= low_watermark
            && (1..=OnConflict::MAX_REPORTED).contains(&changed)
    }

    /// The most changed dependencies that the commit wants reported; zero if it does not ask.
    #[must_use]
    pub fn most_reported(&self) -> usize {
        match self.on_conflict {
            OnConflict::StoreStale => 0,
            OnConflict::Report => OnConflict::MAX_REPORTED,
        }
    }

    /// When the entry expires, for a value that is stored now.
    #[must_use]
    pub fn expires(&self, now: Timestamp) -> Option<Timestamp> {
        let ttl_until = self.ttl.map(|ttl| now.after(ttl));
        ttl_until.into_iter().chain(self.not_after).min()
    }
}

impl Staleness {
    /// How a change makes a dependant stale, by how that depends.
    #[must_use]
    pub fn by(via: Via) -> Self {
        if via == Via::Child { Self::MaybeStale } else { Self::Stale }
    }

    /// The lane of the job of an entry that is so stale; none for a fresh one.
    #[must_use]
    pub fn lane(self) -> Option<Lane> {
        match self {
            Self::Fresh => None,
            Self::MaybeStale => Some(Lane::Propagation),
            Self::Stale => Some(Lane::Recompute),
        }
    }
}

/// The dependencies of a list that conflict with a version, each once: for a run that asks whether it goes on.
pub fn changed_since(changes: &impl ChangeLog, version: u64, dependencies: &[Dependency]) -> Vec<Dependency> {
    let changed = dependencies.iter().filter(|dependency| changes.conflicts_with(dependency, version));
    distinct(changed.copied(), usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Epoch,
        protocol::{
            Changes,
            testing::{at, changes, dependency, head, here, ms, run, token, used, validity, value},
        },
    };

    /// Dependency 1 changed before the run began and 2 after it; 3 is being invalidated.
    fn log() -> Changes {
        changes(&[(1, 5), (2, 6)], &[3])
    }

    fn plan(run: Option<&Run>, old: Option<&Head>, asked: &Commit) -> Committing {
        let (incarnation, validity, changes) = (here(), validity(), log());
        let view = CommitView {
            now: at(200),
            incarnation: &incarnation,
            run,
            head: old,
            validity: &validity,
            changes: &changes,
        };
        commit(&view, asked)
    }

    fn stored(asked: &Commit) -> Stored {
        match plan(Some(&run(1)), Some(&head(Staleness::Stale)), asked) {
            Committing::Stored(stored) => *stored,
            refused => panic!("{refused:?}"),
        }
    }

    #[test]
    fn nothing_is_stored_without_the_present_run_of_this_incarnation() {
        let lost = Committing::Refused(CommitOutcome::Lost);
        assert_eq!(plan(None, None, &value(&[])), lost);
        assert_eq!(plan(Some(&run(2)), None, &value(&[])), lost);
        let again = Run { start_revision: 6, ..run(1) };
        assert_eq!(plan(Some(&again), None, &value(&[])), lost, "another begin under the same token");
        let elsewhere = Commit { incarnation: Incarnation::new("elsewhere"), ..value(&[]) };
        assert_eq!(plan(Some(&run(1)), None, &elsewhere), Committing::Refused(CommitOutcome::OtherIncarnation));
    }

    #[test]
    fn a_value_that_no_change_overtook_is_fresh_and_takes_its_job_back() {
        let stored = stored(&value(&[used(1, Via::Direct), used(4, Via::Child), used(4, Via::Guard)]));
        assert_eq!(stored.outcome, CommitOutcome::Fresh { now: at(200) });
        assert_eq!(stored.job, JobWrite::TakeBack);
        assert_eq!(stored.edges, [used(1, Via::Direct), used(4, Via::Child)]);
        let Head { version, staleness, since, conflicts, failures, causes, .. } = stored.head;
        assert_eq!((version, staleness, since, conflicts, failures), (5, Staleness::Fresh, None, 0, 0));
        assert!(causes.is_empty());
    }

    #[test]
    fn a_conflict_is_as_stale_as_its_most_direct_dependency_and_keeps_its_edges() {
        for (conflict, via, staleness, lane) in [
            (2, Via::Child, Staleness::MaybeStale, Lane::Propagation),
            (2, Via::Direct, Staleness::Stale, Lane::Recompute),
            (3, Via::Guard, Staleness::Stale, Lane::Recompute),
        ] {
            let stored = stored(&value(&[used(1, Via::Direct), used(conflict, via)]));
            let dependencies = vec![dependency(conflict)];
            assert_eq!(stored.outcome, CommitOutcome::Conflicted { now: at(200), dependencies });
            assert_eq!(stored.job, JobWrite::Need { lane, after: ms(7) });
            assert_eq!((stored.head.staleness, stored.head.since), (staleness, Some(at(40))), "stale since before");
            assert_eq!((stored.head.conflicts, stored.head.causes.len()), (3, 1));
            assert_eq!(stored.edges[0], used(1, Via::Direct));
        }
    }

    #[test]
    fn taint_an_old_epoch_and_a_version_that_was_forgotten_are_stale() {
        let tainted = Commit { tainted: true, ..value(&[]) };
        let mut old = value(&[]);
        old.epochs.global = Epoch::from_bytes([2; 16]);
        for asked in [tainted, old] {
            assert_eq!(stored(&asked).head.staleness, Staleness::Stale);
        }
        let forgotten = stored(&Commit { version: 1, ..value(&[used(4, Via::Child)]) });
        assert_eq!(forgotten.head.staleness, Staleness::MaybeStale);
    }

    #[test]
    fn few_conflicts_are_reported_and_nothing_is_stored() {
        let asked = Commit { on_conflict: OnConflict::Report, ..value(&[used(2, Via::Direct), used(2, Via::Child)]) };
        let dependencies = vec![dependency(2)];
        let reported = CommitOutcome::ConflictReported { now: at(200), revision: 9, dependencies };
        assert_eq!(plan(Some(&run(1)), None, &asked), Committing::Refused(reported));
        let forgotten = Commit { version: 1, ..asked.clone() };
        assert!(matches!(plan(Some(&run(1)), None, &forgotten), Committing::Stored(_)));
        let tainted = Commit { tainted: true, ..asked };
        assert!(matches!(plan(Some(&run(1)), None, &tainted), Committing::Stored(_)));
    }

    #[test]
    fn a_lazy_value_waits_for_a_reader_and_the_sooner_end_counts() {
        let asked =
            Commit { lazy: true, ttl: Some(ms(50)), not_after: Some(at(240)), ..value(&[used(2, Via::Direct)]) };
        let stored = stored(&asked);
        assert_eq!((stored.job, stored.head.lazy, stored.head.expires), (JobWrite::Keep, true, Some(at(240))));
    }

    #[test]
    fn changes_since_a_version_are_named_once() {
        let all = [1, 2, 2, 3, 4].map(dependency);
        assert_eq!(changed_since(&log(), 5, &all), [dependency(2), dependency(3)]);
        assert_eq!(changed_since(&log(), 1, &all), [1, 2, 3, 4].map(dependency), "below the low watermark");
    }

    #[test]
    fn a_lapsed_lease_that_no_other_run_took_still_commits() {
        assert!(run(1).until < at(200) && run(1).token == token(1));
        assert!(matches!(plan(Some(&run(1)), None, &value(&[])), Committing::Stored(_)));
    }
}

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

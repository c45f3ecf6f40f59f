//! The commit of a run, and its comparison with changes.

use std::collections::{BTreeSet, HashMap};

use smache_core::{
    ChangedSince, Commit, CommitOutcome, Dependency, Incarnation, Lane, OnConflict, Record, Staleness, StoredEntry,
    Timestamp, UsedDependency, Via,
};

use super::{sink::JobSink, state::Cache};

/// The most dependencies in a conflict.
const NAMED_CONFLICTS: usize = 8;

impl Cache {
    pub(crate) fn commit(
        &mut self,
        commit: Commit,
        incarnation: &Incarnation,
        now: Timestamp,
        sink: &mut JobSink<'_>,
    ) -> CommitOutcome {
        if commit.incarnation != *incarnation {
            return CommitOutcome::OtherIncarnation;
        }
        match self.runs.get(&commit.id) {
            Some(run) if run.token == commit.token && run.start_revision == commit.start_revision => {}
            _ => return CommitOutcome::Lost,
        }
        let conflicts: Vec<UsedDependency> =
            commit.used.iter().filter(|used| self.changed_since(&used.dependency, commit.version)).copied().collect();
        let otherwise_right =
            !commit.tainted && self.validity.has_epochs(&commit.epochs) && commit.version >= self.low_watermark;
        if commit.on_conflict == OnConflict::Report && otherwise_right && !conflicts.is_empty() {
            let dependencies = named(&conflicts, OnConflict::MAX_REPORTED + 1);
            if dependencies.len() <= OnConflict::MAX_REPORTED {
                return CommitOutcome::ConflictReported { now, revision: self.revision, dependencies };
            }
        }
        self.runs.remove(&commit.id);
        let staleness = if commit.tainted
            || !self.validity.has_epochs(&commit.epochs)
            || conflicts.iter().any(|used| used.via != Via::Child)
        {
            Staleness::Stale
        } else if !conflicts.is_empty() {
            Staleness::MaybeStale
        } else {
            Staleness::Fresh
        };
        let Commit { id, lazy, conflict_delay, .. } = commit;
        let record = self.record_of(commit, staleness, now);
        self.put(id, record, sink);

        let lane = match staleness {
            Staleness::Fresh => {
                sink.take_back(&id);
                return CommitOutcome::Fresh { now };
            }
            Staleness::MaybeStale => Lane::Propagation,
            Staleness::Stale => Lane::Recompute,
        };
        if !lazy {
            sink.need(id, lane, conflict_delay);
        }
        CommitOutcome::Conflicted { now, dependencies: named(&conflicts, NAMED_CONFLICTS) }
    }

    /// Whether a dependency was invalidated since a run started, or may have been.
    fn changed_since(&self, dependency: &Dependency, start_revision: u64) -> bool {
        start_revision < self.low_watermark
            || self.changed.get(dependency).is_some_and(|changed| *changed > start_revision)
    }

    pub(crate) fn changes_since(
        &self,
        revision: u64,
        dependencies: &[Dependency],
        incarnation: &Incarnation,
    ) -> ChangedSince {
        let changed: BTreeSet<Dependency> =
            dependencies.iter().filter(|dependency| self.changed_since(dependency, revision)).copied().collect();
        ChangedSince {
            incarnation: incarnation.clone(),
            revision: self.revision,
            dependencies: changed.into_iter().collect(),
        }
    }

    fn record_of(&self, commit: Commit, staleness: Staleness, now: Timestamp) -> Record {
        let fresh = staleness == Staleness::Fresh;
        let old = self.records.get(&commit.id).map(|slot| &slot.record).filter(|_| !fresh);
        let since = old.filter(|old| old.entry.staleness != Staleness::Fresh).and_then(|old| old.entry.since);
        let ttl_until = commit.ttl.map(|ttl| now.after(ttl));
        let entry = StoredEntry {
            value: commit.value,
            meta: commit.meta,
            version: commit.version,
            epochs: commit.epochs,
            staleness,
            since: if fresh { None } else { since.or(Some(now)) },
            stored_at: now,
            expires: ttl_until.into_iter().chain(commit.not_after).min(),
        };
        let mut record = Record::new(entry, commit.call, edges(&commit.used));
        record.causes = old.map(|old| old.causes.clone()).unwrap_or_default();
        record.conflicts = if fresh { 0 } else { old.map_or(0, |old| old.conflicts).saturating_add(1) };
        record.lazy = commit.lazy;
        record
    }
}

/// The dependencies that get an edge, each once. `Direct` wins; a `Guard` is checked but never indexed.
fn edges(used: &[UsedDependency]) -> Vec<UsedDependency> {
    let mut edges: Vec<UsedDependency> = Vec::with_capacity(used.len());
    let mut places: HashMap<Dependency, usize> = HashMap::with_capacity(used.len());
    for used in used.iter().filter(|used| used.via != Via::Guard) {
        match places.get(&used.dependency) {
            Some(place) if used.via == Via::Direct => edges[*place].via = Via::Direct,
            Some(_) => {}
            None => {
                places.insert(used.dependency, edges.len());
                edges.push(*used);
            }
        }
    }
    edges
}

fn named(conflicts: &[UsedDependency], most: usize) -> Vec<Dependency> {
    let mut named: Vec<Dependency> = Vec::new();
    for used in conflicts {
        if named.len() < most && !named.contains(&used.dependency) {
            named.push(used.dependency);
        }
    }
    named
}

//! The commit of a run, and its comparison with changes.

use std::collections::BTreeSet;

use smache_core::{
    ChangedSince, Commit, CommitOutcome, Dependency, Incarnation, OnConflict, Record, Staleness, StoredEntry,
    Timestamp, UsedDependency,
    support::{distinct, edges, limits::NAMED_CONFLICTS},
};

use super::{sink::JobSink, state::Cache};

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
        let changed = |most| distinct(conflicts.iter().map(|used| used.dependency), most);
        let has_epochs = self.validity.has_epochs(&commit.epochs);
        let dependencies = changed(OnConflict::MAX_REPORTED + 1);
        if commit.is_reported(has_epochs, self.low_watermark, dependencies.len()) {
            return CommitOutcome::ConflictReported { now, revision: self.revision, dependencies };
        }
        self.runs.remove(&commit.id);
        let staleness = commit.staleness(has_epochs, &conflicts);
        let Commit { id, lazy, conflict_delay, .. } = commit;
        let record = self.record_of(commit, staleness, now);
        self.put(id, record, sink);

        let Some(lane) = staleness.lane() else {
            sink.take_back(&id);
            return CommitOutcome::Fresh { now };
        };
        if !lazy {
            sink.need(id, lane, conflict_delay);
        }
        CommitOutcome::Conflicted { now, dependencies: changed(NAMED_CONFLICTS) }
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
        let expires = commit.expires(now);
        let entry = StoredEntry {
            value: commit.value,
            meta: commit.meta,
            version: commit.version,
            epochs: commit.epochs,
            staleness,
            since: if fresh { None } else { since.or(Some(now)) },
            stored_at: now,
            expires,
        };
        let mut record = Record::new(entry, commit.call, edges(&commit.used));
        record.causes = old.map(|old| old.causes.clone()).unwrap_or_default();
        record.conflicts = if fresh { 0 } else { old.map_or(0, |old| old.conflicts).saturating_add(1) };
        record.lazy = commit.lazy;
        record
    }
}

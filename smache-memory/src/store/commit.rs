//! The commit of a run, and its comparison with changes.

use smache_core::{
    ChangedSince, Commit, CommitOutcome, Dependency, Incarnation, Timestamp,
    protocol::{self, ChangeLog, CommitView, Committing},
};

use super::{
    sink::JobSink,
    state::{Cache, Entry},
};

/// An invalidation is one step here, so there are no marks.
impl ChangeLog for Cache {
    fn revision(&self) -> u64 {
        self.revision
    }

    fn low_watermark(&self) -> u64 {
        self.low_watermark
    }

    fn last_change(&self, dependency: &Dependency) -> Option<u64> {
        self.changed.get(dependency).copied()
    }

    fn is_marked(&self, _: &Dependency) -> bool {
        false
    }
}

impl Cache {
    pub(crate) fn commit(
        &mut self,
        commit: Commit,
        incarnation: &Incarnation,
        now: Timestamp,
        sink: &mut JobSink<'_>,
    ) -> CommitOutcome {
        let id = commit.id;
        let view = CommitView {
            now,
            incarnation,
            run: self.runs.get(&id),
            head: self.records.get(&id).map(|slot| &slot.entry.head),
            validity: &self.validity,
            changes: self,
        };
        let stored = match protocol::commit(&view, &commit) {
            Committing::Refused(outcome) => return outcome,
            Committing::Stored(stored) => stored,
        };
        self.runs.remove(&id);
        let Commit { call, value, meta, .. } = commit;
        self.put(id, Entry { head: stored.head, value, meta, call, used: stored.edges }, sink);
        sink.write(id, stored.job);
        stored.outcome
    }

    pub(crate) fn changes_since(
        &self,
        revision: u64,
        dependencies: &[Dependency],
        incarnation: &Incarnation,
    ) -> ChangedSince {
        ChangedSince {
            incarnation: incarnation.clone(),
            revision: self.revision,
            dependencies: protocol::changed_since(self, revision, dependencies),
        }
    }
}

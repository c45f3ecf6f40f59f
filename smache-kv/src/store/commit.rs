//! Commits a value, validated against all changes since its run began.

use std::collections::HashMap;

use bytes::Bytes;
use smache_core::{
    ChangedSince, Commit, CommitOutcome, Dependency, Result,
    protocol::{self, Changes, CommitView, Committing},
};

use super::record::{Body, Lineage};
use crate::{codec::whole_count, keys::Role, step::Step};

/// Later than every run.
pub(super) const DAMAGED: u64 = u64::MAX;

impl Step<'_> {
    pub(super) async fn commit_run(&mut self, commit: &Commit) -> Result<CommitOutcome> {
        let keys = self.keys();
        let id = &commit.id;
        let [head, _, lineage] = self.record_keys(id);
        let own = [keys.entry(Role::Run, id), keys.of(Role::Validity, &[]), head, lineage];
        let used = || commit.used.iter().map(|used| used.dependency);
        let changed = used().map(|dependency| self.changed(&dependency));
        let all: Vec<Bytes> = own.into_iter().chain([keys.of(Role::LowWatermark, &[])]).chain(changed).collect();
        self.prefetch(all).await?;
        let run = self.run(id).await?;
        let old = self.head(id).await?;
        // The revision is read only for an answer that has it: a commit that had read it would conflict with every
        // invalidation on an optimistic store.
        let changes = self.changes(0, used()).await?;
        let validity = self.validity().await?;
        let view = CommitView {
            now: self.now,
            incarnation: &self.incarnation,
            run: run.as_ref(),
            head: old.as_ref(),
            validity: &validity,
            changes: &changes,
        };
        let stored = match protocol::commit(&view, commit) {
            Committing::Refused(CommitOutcome::ConflictReported { now, dependencies, .. }) => {
                return Ok(CommitOutcome::ConflictReported { now, revision: self.revision().await?, dependencies });
            }
            Committing::Refused(outcome) => return Ok(outcome),
            Committing::Stored(stored) => stored,
        };
        if let Some(run) = &run {
            self.delete_run(id, run);
        }
        let body = Body { value: commit.value.clone(), meta: commit.meta.clone() };
        let lineage = Lineage { call: commit.call.clone(), used: stored.edges };
        self.put_record(id, &stored.head, &body, &lineage).await?;
        self.write_job(*id, stored.job).await?;
        Ok(stored.outcome)
    }

    /// What is remembered of the changes of some dependencies, which are read already.
    async fn changes(&mut self, revision: u64, dependencies: impl Iterator<Item = Dependency>) -> Result<Changes> {
        let low_watermark = self.number(Role::LowWatermark).await?;
        let mut last = HashMap::new();
        for dependency in dependencies {
            last.extend(self.changed_at(&dependency).await?.map(|changed| (dependency, changed)));
        }
        Ok(Changes { revision, low_watermark, last, marked: self.marked().await? })
    }

    pub(super) async fn changes_since(&mut self, version: u64, dependencies: &[Dependency]) -> Result<ChangedSince> {
        let changed = dependencies.iter().map(|dependency| self.changed(dependency));
        let own = [Role::LowWatermark, Role::Revision].map(|role| self.keys().of(role, &[]));
        let keys: Vec<Bytes> = own.into_iter().chain(changed).collect();
        self.prefetch(keys).await?;
        let revision = self.revision().await?;
        let changes = self.changes(revision, dependencies.iter().copied()).await?;
        Ok(ChangedSince {
            incarnation: self.incarnation.clone(),
            revision: changes.revision,
            dependencies: protocol::changed_since(&changes, version, dependencies),
        })
    }

    pub(super) fn changed(&self, dependency: &Dependency) -> Bytes {
        self.keys().of(Role::Changed, &[dependency.as_bytes()])
    }

    /// The revision of the last invalidation of a dependency. An unreadable one counts as the latest.
    pub(super) async fn changed_at(&mut self, dependency: &Dependency) -> Result<Option<u64>> {
        let key = self.changed(dependency);
        let changed = self.get(&key).await?;
        Ok(changed.map(|bytes| {
            whole_count(&bytes).unwrap_or_else(|| {
                tracing::warn!(%dependency, "the revision of an invalidation cannot be read: whatever used it is stale");
                DAMAGED
            })
        }))
    }
}

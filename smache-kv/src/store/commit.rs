//! Commits a value, validated against all changes since its run began.

use std::collections::HashSet;

use bytes::Bytes;
use smache_core::{
    ChangedSince, Commit, CommitOutcome, Dependency, OnConflict, Result, Staleness, UsedDependency,
    support::{distinct, edges, limits::NAMED_CONFLICTS},
};

use super::record::{Body, Head, Lineage};
use crate::{codec::whole_number, keys::Role, step::Step};

/// Later than every run.
pub(super) const DAMAGED: u64 = u64::MAX;

impl Step<'_> {
    pub(super) async fn commit_run(&mut self, commit: &Commit) -> Result<CommitOutcome> {
        if commit.incarnation != self.incarnation {
            return Ok(CommitOutcome::OtherIncarnation);
        }
        let keys = self.keys();
        let id = &commit.id;
        let [head, _, lineage] = self.record_keys(id);
        let own =
            [keys.entry(Role::Run, id), keys.of(Role::LowWatermark, &[]), keys.of(Role::Validity, &[]), head, lineage];
        let changed = commit.used.iter().map(|used| keys.of(Role::Changed, &[used.dependency.as_bytes()]));
        self.prefetch(own.into_iter().chain(changed)).await?;
        let run = match self.run(id).await? {
            Some(run) if run.token == commit.token && run.start_revision == commit.start_revision => run,
            _ => return Ok(CommitOutcome::Lost),
        };
        let conflicts = self.conflicts(commit).await?;
        let changed = |most| distinct(conflicts.iter().map(|used| used.dependency), most);
        let has_epochs = self.validity().await?.has_epochs(&commit.epochs);
        let low_watermark = self.number(Role::LowWatermark).await?;
        let dependencies = changed(OnConflict::MAX_REPORTED + 1);
        if commit.is_reported(has_epochs, low_watermark, dependencies.len()) {
            let revision = self.number(Role::Revision).await?;
            return Ok(CommitOutcome::ConflictReported { now: self.now, revision, dependencies });
        }
        self.delete_run(id, &run);
        let staleness = commit.staleness(has_epochs, &conflicts);
        let head = self.head_of(commit, staleness).await?;
        let body = Body { value: commit.value.clone(), meta: commit.meta.clone() };
        let lineage = Lineage { call: commit.call.clone(), used: edges(&commit.used) };
        self.put_record(id, &head, &body, &lineage).await?;

        let Some(lane) = staleness.lane() else {
            self.take_back(id).await?;
            return Ok(CommitOutcome::Fresh { now: self.now });
        };
        if !commit.lazy {
            self.need(*id, lane, commit.conflict_delay).await?;
        }
        Ok(CommitOutcome::Conflicted { now: self.now, dependencies: changed(NAMED_CONFLICTS) })
    }

    /// The used dependencies that were invalidated since the run started, are being invalidated, or may have been.
    async fn conflicts(&mut self, commit: &Commit) -> Result<Vec<UsedDependency>> {
        let used: Vec<Dependency> = commit.used.iter().map(|used| used.dependency).collect();
        let changed = self.changed_after(commit.version, &used).await?;
        Ok(commit.used.iter().filter(|used| changed.contains(&used.dependency)).copied().collect())
    }

    /// The same for a list of dependencies.
    async fn changed_after(&mut self, version: u64, dependencies: &[Dependency]) -> Result<HashSet<Dependency>> {
        if version < self.number(Role::LowWatermark).await? {
            return Ok(dependencies.iter().copied().collect());
        }
        let marked = self.marked().await?;
        let mut found = HashSet::new();
        for dependency in dependencies {
            let changed = self.changed_at(dependency).await?;
            if changed.is_some_and(|changed| changed > version) || marked.contains(dependency) {
                found.insert(*dependency);
            }
        }
        Ok(found)
    }

    pub(super) async fn changes_since(&mut self, version: u64, dependencies: &[Dependency]) -> Result<ChangedSince> {
        let changed = dependencies.iter().map(|dependency| self.changed(dependency));
        let own = [self.keys().of(Role::LowWatermark, &[]), self.keys().of(Role::Revision, &[])];
        let keys: Vec<Bytes> = own.into_iter().chain(changed).collect();
        self.prefetch(keys).await?;
        Ok(ChangedSince {
            incarnation: self.incarnation.clone(),
            revision: self.number(Role::Revision).await?,
            dependencies: self.changed_after(version, dependencies).await?.into_iter().collect(),
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
            whole_number(&bytes).unwrap_or_else(|| {
                tracing::warn!(%dependency, "the revision of an invalidation cannot be read: whatever used it is stale");
                DAMAGED
            })
        }))
    }

    async fn head_of(&mut self, commit: &Commit, staleness: Staleness) -> Result<Head> {
        let fresh = staleness == Staleness::Fresh;
        let old = self.head(&commit.id).await?.filter(|_| !fresh);
        let since = old.as_ref().and_then(|old| old.since).or(Some(self.now)).filter(|_| !fresh);
        Ok(Head {
            version: commit.version,
            epochs: commit.epochs.clone(),
            staleness,
            since,
            stored_at: self.now,
            expires: commit.expires(self.now),
            lazy: commit.lazy,
            conflicts: if fresh { 0 } else { old.as_ref().map_or(0, |old| old.conflicts).saturating_add(1) },
            failures: 0,
            last_failure: None,
            causes: old.map(|old| old.causes).unwrap_or_default(),
        })
    }
}

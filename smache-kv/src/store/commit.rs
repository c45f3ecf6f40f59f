//! Commits a value, validated against all changes since its run began.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use smache_core::{
    ChangedSince, Commit, CommitOutcome, Dependency, Lane, OnConflict, Result, Staleness, UsedDependency, Via,
};

use super::record::{Body, Head, Lineage};
use crate::{codec::whole_number, keys::Role, step::Step};

/// Later than every run.
pub(super) const DAMAGED: u64 = u64::MAX;

/// The most dependencies in a conflict.
const NAMED_CONFLICTS: usize = 8;

impl Step<'_> {
    pub(super) async fn commit_run(&mut self, commit: &Commit) -> Result<CommitOutcome> {
        if commit.incarnation != self.incarnation {
            return Ok(CommitOutcome::OtherIncarnation);
        }
        let (keys, id) = (self.keys(), &commit.id);
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
        if commit.on_conflict == OnConflict::Report
            && let Some(told) = self.told(commit, &conflicts).await?
        {
            return Ok(told);
        }
        self.delete_run(id, &run);
        let staleness = if commit.tainted
            || !self.validity().await?.has_epochs(&commit.epochs)
            || conflicts.iter().any(|used| used.via != Via::Child)
        {
            Staleness::Stale
        } else if !conflicts.is_empty() {
            Staleness::MaybeStale
        } else {
            Staleness::Fresh
        };
        let head = self.head_of(commit, staleness).await?;
        let body = Body { value: commit.value.clone(), meta: commit.meta.clone() };
        let lineage = Lineage { call: commit.call.clone(), used: edges(&commit.used) };
        self.put_record(id, &head, &body, &lineage).await?;

        let lane = match staleness {
            Staleness::Fresh => {
                self.take_back(id).await?;
                return Ok(CommitOutcome::Fresh { now: self.now });
            }
            Staleness::MaybeStale => Lane::Propagation,
            Staleness::Stale => Lane::Recompute,
        };
        if !commit.lazy {
            self.need(*id, lane, commit.conflict_delay).await?;
        }
        Ok(CommitOutcome::Conflicted { now: self.now, dependencies: named(&conflicts, NAMED_CONFLICTS) })
    }

    /// The report for a commit that asks for one, if changes of few dependencies are the only objection to its value.
    async fn told(&mut self, commit: &Commit, conflicts: &[UsedDependency]) -> Result<Option<CommitOutcome>> {
        let dependencies = named(conflicts, OnConflict::MAX_REPORTED + 1);
        let few = (1..=OnConflict::MAX_REPORTED).contains(&dependencies.len());
        let otherwise_right = !commit.tainted
            && self.validity().await?.has_epochs(&commit.epochs)
            && commit.version >= self.number(Role::LowWatermark).await?;
        if !few || !otherwise_right {
            return Ok(None);
        }
        let revision = self.number(Role::Revision).await?;
        Ok(Some(CommitOutcome::ConflictReported { now: self.now, revision, dependencies }))
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
        let ttl_until = commit.ttl.map(|ttl| self.now.after(ttl));
        Ok(Head {
            version: commit.version,
            epochs: commit.epochs.clone(),
            staleness,
            since,
            stored_at: self.now,
            expires: ttl_until.into_iter().chain(commit.not_after).min(),
            lazy: commit.lazy,
            conflicts: if fresh { 0 } else { old.as_ref().map_or(0, |old| old.conflicts).saturating_add(1) },
            failures: 0,
            last_failure: None,
            causes: old.map(|old| old.causes).unwrap_or_default(),
        })
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
    let mut seen = HashSet::new();
    conflicts.iter().map(|used| used.dependency).filter(|name| seen.insert(*name)).take(most).collect()
}

//! The commit of a run: it compares the dependencies of the run, and replaces the record of the entry.

use std::collections::HashSet;

use smache_core::{
    ChangedSince, Commit, CommitOutcome, Dependency, Result, Timestamp, UsedDependency, Via,
    support::{EdgeChanges, distinct, edges, limits::NAMED_CONFLICTS},
};

use super::{SqliteStore, Step, runs::bytes};
use crate::{
    cells::{Cells, count, millis, number, time, timestamp},
    changed,
    error::unexpected,
    record::decode_causes,
    sqlite::{
        jobs::{USUAL_PRIORITY, list, pairs},
        link::Statement,
    },
};

const END_COMMIT: &str = "DELETE FROM smache_runs WHERE ns = $1 AND id = $2 AND token = $3 AND start_revision = $4";
const CONFLICTS: &str = "SELECT dep FROM smache_changed WHERE ns = $1 AND revision > $3 \
     AND dep IN (SELECT unhex(value) FROM json_each($2))";
const OLD: &str = "SELECT used, staleness, since, conflicts, causes FROM smache_entries WHERE ns = $1 AND id = $2";
const STORE: &str = include_str!("../../../queries/sqlite/store.sql");
const ADD_EDGES: &str = "INSERT INTO smache_edges (ns, dep, id, direct) \
     SELECT $1, unhex(value ->> 0), $2, value ->> 1 FROM json_each($3) WHERE true \
     ON CONFLICT (ns, dep, id) DO UPDATE SET direct = excluded.direct";
const CHANGED_SINCE: &str = include_str!("../../../queries/sqlite/changed_since.sql");

impl SqliteStore {
    pub(super) async fn commit_run(&self, commit: &Commit) -> Result<CommitOutcome> {
        let time = self.link.now();
        let now = timestamp(time);
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, time).await?;
        let head = step.head().await?;
        if commit.incarnation != head.incarnation {
            return Ok(CommitOutcome::OtherIncarnation);
        }
        let ns = step.ns;
        let bind = |query: Statement| {
            let query = query.bind(ns).bind(bytes(&commit.id)).bind(commit.token.as_bytes().to_vec());
            query.bind(number(commit.start_revision))
        };
        if step.execute(END_COMMIT, bind).await? == 0 {
            return Ok(CommitOutcome::Lost);
        }
        let conflicts = step.conflicts(commit).await?;
        let changed = commit.used.iter().filter(|used| conflicts.contains(&used.dependency));
        let has_epochs = head.validity.has_epochs(&commit.epochs);
        if commit.is_reported(has_epochs, count(step.low_watermark), conflicts.len()) {
            // The rollback also undoes the earlier writes of this step.
            let revision = count(step.revision);
            return Ok(CommitOutcome::ConflictReported {
                now,
                revision,
                dependencies: conflicts.into_iter().collect(),
            });
        }
        let staleness = commit.staleness(has_epochs, changed.clone()) as i64;
        step.put(commit, staleness, now).await?;
        if self.writes_jobs() {
            let id = commit.id;
            if staleness == 0 {
                step.take_back(&[id]).await?;
            } else if !commit.lazy {
                let due = time + millis(commit.conflict_delay);
                step.need(&[(id, staleness - 1)], USUAL_PRIORITY, due).await?;
            }
        }
        let dependencies = distinct(changed.map(|used| used.dependency), NAMED_CONFLICTS);
        step.commit().await?;
        Ok(if staleness == 0 { CommitOutcome::Fresh { now } } else { CommitOutcome::Conflicted { now, dependencies } })
    }

    pub(super) async fn changes_since(&self, revision: u64, of: &[Dependency]) -> Result<ChangedSince> {
        let all = list(of.iter().map(|dependency| dependency.as_bytes().as_slice()));
        for _ in 0..2 {
            let bind = |query: Statement| {
                query
                    .bind(self.name.clone())
                    .bind(all.clone())
                    .bind(number(revision))
                    .bind(self.link.place.mark.clone())
            };
            let rows = self.link.read(CHANGED_SINCE, bind).await?;
            if let Some(found) = changed::read(&rows, &self.link.place.file, (revision, of))? {
                return Ok(found);
            }
            // The look-up makes the namespace.
            self.look_up(&[]).await?;
        }
        Err(unexpected("changed_since"))
    }
}

impl Step<'_> {
    /// The used dependencies that were invalidated since the run started, or may have been.
    async fn conflicts(&mut self, commit: &Commit) -> Result<HashSet<Dependency>> {
        let all = commit.used.iter().map(|used| used.dependency);
        if number(commit.version) < self.low_watermark {
            return Ok(all.collect());
        }
        let ns = self.ns;
        let version = number(commit.version);
        let all = list(commit.used.iter().map(|used| used.dependency.as_bytes().as_slice()));
        let rows = self.rows(CONFLICTS, |query| query.bind(ns).bind(all).bind(version)).await?;
        let one = |row: &_| {
            let dependency = Cells::bytes(row, 0).map_err(|error| self.failed(error))?.unwrap_or_default();
            Dependency::from_slice(&dependency)
        };
        rows.iter().map(one).collect()
    }

    /// Replaces a record and its edges.
    async fn put(&mut self, commit: &Commit, staleness: i64, now: Timestamp) -> Result<()> {
        let ns = self.ns;
        let old = self.row(OLD, |query| query.bind(ns).bind(bytes(&commit.id))).await?;
        let edges = edges(&commit.used);
        let used = UsedDependency::encode_edges(&edges);
        let stale = staleness > 0;
        let mut since = stale.then_some(time(now));
        let mut conflicts = i64::from(stale);
        let mut causes = "[]".to_owned();
        let mut old_used = Vec::new();
        if let Some(old) = &old {
            let cell = |place| old.int(place).map_err(|error| self.failed(error));
            if stale {
                let kept = if cell(1)?.unwrap_or(0) > 0 { cell(2)? } else { None };
                since = kept.or(since);
                conflicts = cell(3)?.unwrap_or(0).saturating_add(1);
                // The causes of a damaged record would damage this one.
                causes = old.text(4).ok().flatten().filter(|causes| decode_causes(causes).is_ok()).unwrap_or(causes);
            }
            old_used = old.bytes(0).map_err(|error| self.failed(error))?.unwrap_or_default();
        }
        let expires = commit.expires(now).map(time);
        let stored_at = time(now);
        let bind = |query: Statement| {
            query
                .bind(ns)
                .bind(bytes(&commit.id))
                .bind(number(commit.version))
                .bind(staleness)
                .bind(since)
                .bind(stored_at)
                .bind(expires)
                .bind(conflicts)
                .bind(i64::from(commit.lazy))
                .bind(commit.epochs.encode())
                .bind(causes)
                .bind(commit.call.to_vec())
                .bind(used)
                .bind(commit.meta.to_vec())
                .bind(commit.value.to_vec())
        };
        self.execute(STORE, bind).await?;
        let changes = EdgeChanges::since(&old_used, &edges);
        if !changes.removed.is_empty() {
            self.drop_edges(&commit.id, changes.removed.iter().map(|gone| gone.as_bytes().as_slice())).await?;
        }
        if !changes.written.is_empty() {
            let written = changes.written.iter();
            let edges =
                pairs(written.map(|edge| (edge.dependency.as_bytes().as_slice(), i64::from(edge.via != Via::Child))));
            self.execute(ADD_EDGES, |query| query.bind(ns).bind(bytes(&commit.id)).bind(edges)).await?;
        }
        Ok(())
    }
}

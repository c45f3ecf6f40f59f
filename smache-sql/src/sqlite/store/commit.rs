//! The commit of a run: it compares the dependencies of the run, and replaces the record of the entry.

use smache_core::{
    ChangedSince, Commit, CommitOutcome, Dependency, Result, UsedDependency, Via,
    protocol::{self, CommitView, Committing, Stored},
    support::EdgeChanges,
};

use super::{SqliteStore, Statement, Step, runs::bytes};
use crate::{
    cells::{number, time},
    changed,
    error::unexpected,
    record::encode_causes,
    sqlite::jobs::{list, pairs},
};

const STORE: &str = include_str!("../../../queries/sqlite/store.sql");
const ADD_EDGES: &str = "INSERT INTO smache_edges (ns, dep, id, direct) \
     SELECT $1, unhex(value ->> 0), $2, value ->> 1 FROM json_each($3) WHERE true \
     ON CONFLICT (ns, dep, id) DO UPDATE SET direct = excluded.direct";
const CHANGED_SINCE: &str = include_str!("../../../queries/sqlite/changed_since.sql");

impl SqliteStore {
    pub(super) async fn commit_run(&self, commit: &Commit) -> Result<CommitOutcome> {
        let now = self.link.now();
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, now).await?;
        let id = &commit.id;
        let mut view = step.view_with_changes(id, &commit.used, commit.version).await?;
        let of_commit = CommitView {
            now: step.time(),
            incarnation: &step.incarnation,
            run: view.run.as_ref(),
            head: view.head.as_ref(),
            validity: &step.validity,
            changes: &view.changes,
        };
        let stored = match protocol::commit(&of_commit, commit) {
            Committing::Refused(outcome) => return Ok(outcome),
            Committing::Stored(stored) => stored,
        };
        step.end_run(id).await?;
        step.put(commit, &stored, &view.used).await?;
        if self.writes_jobs() {
            step.write_job(&mut view.jobs, id, stored.job).await?;
        }
        step.commit().await?;
        Ok(stored.outcome)
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
    /// Replaces a record and its edges.
    async fn put(&mut self, commit: &Commit, stored: &Stored, old_used: &[u8]) -> Result<()> {
        let ns = self.ns;
        let Stored { head, edges, .. } = stored;
        let causes = encode_causes(&head.causes);
        let bind = |query: Statement| {
            query
                .bind(ns)
                .bind(bytes(&commit.id))
                .bind(number(head.version))
                .bind(head.staleness as i64)
                .bind(head.since.map(time))
                .bind(time(head.stored_at))
                .bind(head.expires.map(time))
                .bind(i64::from(head.conflicts))
                .bind(i64::from(head.lazy))
                .bind(head.epochs.encode())
                .bind(causes)
                .bind(commit.call.to_vec())
                .bind(UsedDependency::encode_edges(edges))
                .bind(commit.meta.to_vec())
                .bind(commit.value.to_vec())
        };
        self.execute(STORE, bind).await?;
        let changes = EdgeChanges::since(old_used, edges);
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

//! Changes: one transaction, however many dependants there are.

use std::collections::HashMap;

use smache_core::{
    Dependency, EntryId, Incarnation, Invalidated, Invalidation, Result, protocol, support::limits::CAUSE_BYTES,
};
use sqlx::sqlite::SqliteRow;

use super::{SqliteStore, Statement, Step};
use crate::{
    cells::{Cells, clip, number},
    sqlite::jobs::{PER_STATEMENT, USUAL_PRIORITY, list},
};

const MARK: &str = include_str!("../../../queries/sqlite/mark.sql");
const MARK_ENTRY: &str = include_str!("../../../queries/sqlite/mark_entry.sql");
const TICK: &str = "UPDATE smache_namespaces SET revision = $2 WHERE ns = $1";
const REMEMBER: &str = "INSERT INTO smache_changed (ns, dep, revision) \
     SELECT $1, unhex(value), $3 FROM json_each($2) WHERE true \
     ON CONFLICT (ns, dep) DO UPDATE SET revision = excluded.revision";

/// The entries that a step marked, with how stale each is now; and those of them that a job has to compute.
#[derive(Default)]
pub(super) struct Marked {
    pub(super) all: HashMap<EntryId, bool>,
    needs: HashMap<EntryId, i64>,
}

impl Marked {
    /// Takes rows of id, staleness and whether the entry is lazy.
    fn take(&mut self, rows: &[SqliteRow], step: &Step<'_>) -> Result<()> {
        for row in rows {
            let cell = |place| row.int(place).map(Option::unwrap_or_default).map_err(|error| step.failed(error));
            let id = row.bytes(0).map_err(|error| step.failed(error))?.unwrap_or_default();
            let id = EntryId::from_slice(&id)?;
            let lazy = cell(2)? != 0;
            self.all.insert(id, lazy);
            if !lazy {
                self.needs.insert(id, cell(1)? - 1);
            }
        }
        Ok(())
    }

    /// Writes the jobs, or returns the entries that need one.
    pub(super) async fn see_to(self, step: &mut Step<'_>, writes_jobs: bool) -> Result<Vec<EntryId>> {
        if !writes_jobs {
            return Ok(self.needs.into_keys().collect());
        }
        let needs: Vec<(EntryId, i64)> = self.needs.into_iter().collect();
        let now = step.now;
        step.need(&needs, USUAL_PRIORITY, now).await?;
        Ok(Vec::new())
    }
}

impl SqliteStore {
    pub(super) async fn invalidate_all(&self, invalidation: &Invalidation) -> Result<Invalidated> {
        let feed_step = invalidation.step.as_ref();
        let now = self.link.now();
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, now).await?;
        let progress = match feed_step {
            Some(feed_step) => Some(step.progress(feed_step).await?),
            None => None,
        };
        let marked = step.invalidate(invalidation).await?;
        if let Some(progress) = progress {
            step.write_progress(progress).await?;
        }
        let invalidated = step.invalidated(marked, self.writes_jobs()).await?;
        step.commit().await?;
        Ok(invalidated)
    }
}

impl Step<'_> {
    /// Marks the affected entries, and remembers the revision.
    async fn invalidate(&mut self, invalidation: &Invalidation) -> Result<Marked> {
        let mut marked = Marked::default();
        if invalidation.changed.is_empty() && invalidation.entries.is_empty() {
            return Ok(marked);
        }
        self.mark_changed(invalidation, &mut marked).await?;
        self.raise(protocol::revise(self.revision)).await?;
        let ns = self.ns;
        let revision = number(self.revision);
        for changed in invalidation.changed.chunks(PER_STATEMENT) {
            let changed = list(changed.iter().map(|changed| changed.dependency.as_bytes().as_slice()));
            self.execute(REMEMBER, |query| query.bind(ns).bind(changed).bind(revision)).await?;
        }
        Ok(marked)
    }

    /// Writes a new revision.
    pub(super) async fn raise(&mut self, revision: u64) -> Result<()> {
        self.revision = revision;
        let ns = self.ns;
        self.execute(TICK, |query| query.bind(ns).bind(number(revision))).await.map(drop)
    }

    /// Writes the jobs of the marked entries, or returns the entries that need one.
    async fn invalidated(&mut self, marked: Marked, writes_jobs: bool) -> Result<Invalidated> {
        let count_marked = marked.all.len() as u64;
        let jobs = marked.see_to(self, writes_jobs).await?;
        Ok(Invalidated { revision: self.revision, marked: count_marked, jobs })
    }

    /// The whole invalidation as a part of a transaction of the application, if the store is of that incarnation.
    pub(in crate::sqlite) async fn invalidate_within(
        mut self,
        incarnation: &Incarnation,
        invalidation: &Invalidation,
        writes_jobs: bool,
    ) -> Result<Option<Invalidated>> {
        if self.incarnation != *incarnation {
            return Ok(None);
        }
        let marked = self.invalidate(invalidation).await?;
        let invalidated = self.invalidated(marked, writes_jobs).await?;
        self.commit().await?;
        Ok(Some(invalidated))
    }

    async fn mark_changed(&mut self, invalidation: &Invalidation, marked: &mut Marked) -> Result<()> {
        let (ns, now) = (self.ns, self.now);
        let causes: Vec<String> =
            invalidation.changed.iter().map(|changed| clip(&changed.cause, CAUSE_BYTES)).collect();
        for (changed, cause) in invalidation.changed.iter().zip(&causes) {
            let bind = |query: Statement| {
                query.bind(ns).bind(changed.dependency.as_bytes().to_vec()).bind(cause.clone()).bind(now)
            };
            let rows = self.rows(MARK, bind).await?;
            marked.take(&rows, self)?;
        }
        // Why entries were named: their own dependencies are among the changed dependencies.
        let own: HashMap<&Dependency, &String> =
            invalidation.changed.iter().map(|changed| &changed.dependency).zip(&causes).collect();
        for id in &invalidation.entries {
            let cause = own.get(&Dependency::entry(id)).map(|cause| (*cause).clone());
            self.mark_entry(id, cause, marked).await?;
        }
        Ok(())
    }

    /// Marks an entry as stale.
    pub(super) async fn mark_entry(&mut self, id: &EntryId, cause: Option<String>, marked: &mut Marked) -> Result<()> {
        let ns = self.ns;
        let now = self.now;
        let id = id.as_bytes().to_vec();
        let rows = self.rows(MARK_ENTRY, |query| query.bind(ns).bind(id).bind(cause).bind(now)).await?;
        marked.take(&rows, self)
    }
}

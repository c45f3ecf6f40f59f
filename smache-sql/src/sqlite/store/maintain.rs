//! Maintenance.

use std::sync::Arc;

use smache_core::{
    EntryId, Maintained, Result,
    protocol::{self, JobWrite},
    support::{NEW_EPOCH, limits::REAP_AFTER},
};
use sqlx::sqlite::SqliteRow;

use super::{SqliteStore, Step, invalidate::Marked};
use crate::cells::{Cells, count, millis, number};

/// Maintenance of a piece larger than this would keep the file locked for too long.
const MOST: usize = 1_000;

const HEAL_SOURCES: &str = "DELETE FROM smache_sources WHERE ns = $1 \
     AND (length(epoch) <> 16 OR length(CAST(name AS BLOB)) NOT BETWEEN 1 AND 128)";
const EXPIRED: &str = "SELECT e.id FROM smache_entries e WHERE e.ns = $1 AND e.expires <= $2 AND NOT EXISTS (\
     SELECT 1 FROM smache_runs r WHERE r.ns = e.ns AND r.id = e.id AND r.until > $2) ORDER BY e.expires LIMIT $3";
const LAPSED: &str = "SELECT id FROM smache_runs WHERE ns = $1 AND until < $2 LIMIT $3";
const NEEDED: &str = "SELECT min(start_revision) FROM smache_runs WHERE ns = $1";
const TRIM: &str = "DELETE FROM smache_changed WHERE ns = $1 AND dep IN (\
     SELECT dep FROM smache_changed WHERE ns = $1 AND revision <= $2 ORDER BY revision LIMIT $3) RETURNING revision";
const LOW_WATERMARK: &str = "UPDATE smache_namespaces SET low_watermark = $2 WHERE ns = $1";
const WALK: &str = "SELECT id, lazy, epochs FROM smache_entries WHERE ns = $1 AND id > $2 ORDER BY id LIMIT $3";

impl SqliteStore {
    pub(super) async fn run_maintenance(&self, limit: usize) -> Result<Maintained> {
        let limit = limit.clamp(1, MOST);
        let writes_jobs = self.writes_jobs();
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, self.link.now()).await?;
        let mut done = Maintained::default();
        step.heal().await?;
        step.expire(limit, writes_jobs, &mut done).await?;
        step.reap(limit, writes_jobs, &mut done).await?;
        step.trim(limit, &mut done).await?;
        step.walk(limit, writes_jobs, &mut done).await?;
        step.commit().await?;
        Ok(done)
    }
}

impl Step<'_> {
    fn ids(&self, rows: &[SqliteRow]) -> Result<Vec<EntryId>> {
        let one = |row: &SqliteRow| {
            EntryId::from_slice(&row.bytes(0).map_err(|error| self.failed(error))?.unwrap_or_default())
        };
        rows.iter().map(one).collect()
    }

    /// Removes sources that cannot be read. One gets a new epoch when a process attaches or leads it.
    async fn heal(&mut self) -> Result<()> {
        let ns = self.ns;
        if self.execute(HEAL_SOURCES, |query| query.bind(ns)).await? > 0 {
            self.sweep_from(Some(Vec::new())).await?;
            self.sweep = Some(Vec::new());
        }
        Ok(())
    }

    async fn expire(&mut self, limit: usize, writes_jobs: bool, done: &mut Maintained) -> Result<()> {
        let ns = self.ns;
        let now = self.now;
        let one_more = limit as i64 + 1;
        // A run keeps its record: its value is being replaced, and is shown until then.
        let due = self.rows(EXPIRED, |query| query.bind(ns).bind(now).bind(one_more)).await?;
        done.more |= due.len() > limit;
        for id in self.ids(&due)?.iter().take(limit) {
            self.forget(id).await?;
            if writes_jobs {
                let mut jobs = self.jobs(std::slice::from_ref(id)).await?;
                self.write_job(&mut jobs, id, JobWrite::TakeBack).await?;
            }
            done.expired += 1;
        }
        Ok(())
    }

    async fn reap(&mut self, limit: usize, writes_jobs: bool, done: &mut Maintained) -> Result<()> {
        let ns = self.ns;
        let now = self.now;
        let one_more = limit as i64 + 1;
        let lapsed = self.rows(LAPSED, |query| query.bind(ns).bind(now - millis(REAP_AFTER)).bind(one_more)).await?;
        done.more |= lapsed.len() > limit;
        for id in self.ids(&lapsed)?.iter().take(limit) {
            let mut view = self.view(id).await?;
            let Some(job) = protocol::reap(&self.ended(&view)) else { continue };
            self.end_run(id).await?;
            done.reaped += 1;
            if writes_jobs {
                self.write_job(&mut view.jobs, id, job).await?;
            } else if job.is_need() {
                done.jobs.push(*id);
            }
        }
        Ok(())
    }

    /// Forgets the invalidations that no present run compares with, the oldest first.
    async fn trim(&mut self, limit: usize, done: &mut Maintained) -> Result<()> {
        let (ns, most) = (self.ns, limit * 10);
        let needed = self.row(NEEDED, |query| query.bind(ns)).await?;
        let needed = needed.map_or(Ok(None), |row| row.int(0)).map_err(|error| self.failed(error))?;
        let needed = needed.map_or(self.revision, count);
        let gone = self.rows(TRIM, |query| query.bind(ns).bind(number(needed)).bind(most as i64)).await?;
        done.trimmed = gone.len() as u64;
        let mut low_watermark = needed;
        if gone.len() >= most {
            done.more = true;
            let revisions = gone.iter().map(|row| row.int(0).map(Option::unwrap_or_default));
            let revisions: Vec<i64> = revisions.collect::<Result<_, _>>().map_err(|error| self.failed(error))?;
            low_watermark = revisions.into_iter().max().map_or(0, count);
        }
        let raised = protocol::raised(self.low_watermark, low_watermark);
        if raised > self.low_watermark {
            self.execute(LOW_WATERMARK, |query| query.bind(ns).bind(number(raised))).await?;
            self.low_watermark = raised;
        }
        Ok(())
    }

    /// Marks entries of old epochs. Records stored behind the walk have the present epochs, or were stored as stale.
    async fn walk(&mut self, limit: usize, writes_jobs: bool, done: &mut Maintained) -> Result<()> {
        let Some(after) = self.sweep.take() else { return Ok(()) };
        let ns = self.ns;
        let page = self.rows(WALK, |query| query.bind(ns).bind(after).bind(limit as i64)).await?;
        let validity = Arc::clone(&self.validity);
        let mut marked = Marked::default();
        let mut last = None;
        for (id, row) in self.ids(&page)?.into_iter().zip(&page) {
            last = Some(id);
            let epochs = row.bytes(2).map_err(|error| self.failed(error))?.unwrap_or_default();
            if validity.is_outdated(&epochs) {
                self.mark_entry(&id, Some(NEW_EPOCH.to_owned()), &mut marked).await?;
            }
        }
        done.marked = marked.all.len() as u64;
        done.jobs.extend(marked.see_to(self, writes_jobs).await?);
        let more = page.len() >= limit;
        done.more |= more;
        self.sweep_from(last.filter(|_| more).map(|id| id.as_bytes().to_vec())).await
    }
}

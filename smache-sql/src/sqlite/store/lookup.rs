//! Reading: one statement, so one snapshot.

use smache_core::{Dependants, Dependency, EntryId, FullRecord, Lookup, Page, Result, Scanned, StoreStats, Via};

use super::{LOOKUP, READ_RECORD, SqliteStore, Statement, Step};
use crate::{
    cells::{Cells, count, timestamp},
    error::{failed, unexpected},
    page::{Listing, after},
    record::Rows,
    sqlite::jobs::ids as list,
};

const STALE: &str = "SELECT e.id, coalesce(e.since, e.stored_at), e.lazy \
     FROM smache_entries e JOIN smache_namespaces n USING (ns) \
     WHERE n.name = $1 AND e.staleness > 0 AND e.id > $2 ORDER BY e.id LIMIT $3";
const DEPENDANTS: &str = "SELECT e.id, e.direct FROM smache_edges e JOIN smache_namespaces n USING (ns) \
     WHERE n.name = $1 AND e.dep = $4 AND e.id > $2 ORDER BY e.id LIMIT $3";
const STATS: &str = "SELECT \
     (SELECT count(*) FROM smache_entries e WHERE e.ns = n.ns), \
     (SELECT count(*) FROM smache_entries e WHERE e.ns = n.ns AND e.staleness > 0), \
     (SELECT count(*) FROM smache_runs r WHERE r.ns = n.ns), n.revision, \
     (SELECT count(*) FROM smache_changed c WHERE c.ns = n.ns) \
     FROM smache_namespaces n WHERE n.name = $1";

impl SqliteStore {
    /// The rows of a look-up. The first look-up of a namespace makes its row, since an answer needs an epoch.
    async fn rows(&self, operation: &'static str, sql: &'static str, ids: &[EntryId]) -> Result<Rows> {
        for _ in 0..2 {
            let now = self.link.now();
            let bind = |query: Statement| {
                query.bind(self.name.clone()).bind(list(ids)).bind(now).bind(self.link.place.mark.clone())
            };
            let rows = Rows::read(&self.link.read(sql, bind).await?, &self.link.place.file)?;
            if rows.head.is_some() {
                return Ok(rows);
            }
            let mut writer = self.link.writer.lock().await;
            Step::begin(&self.link, &mut writer, &self.name, now).await?.commit().await?;
        }
        Err(unexpected(operation))
    }

    pub(super) async fn look_up(&self, ids: &[EntryId]) -> Result<Lookup> {
        let mut rows = self.rows("lookup", LOOKUP, ids).await?;
        let head = rows.head.take().ok_or_else(|| unexpected("lookup"))?;
        // An id may be asked for twice.
        let entries = ids.iter().map(|id| rows.entries.get(id).cloned()).collect();
        Ok(Lookup { now: head.now, incarnation: head.incarnation, validity: head.validity, entries })
    }

    pub(super) async fn read_full_record(&self, id: &EntryId) -> Result<FullRecord> {
        let mut rows = self.rows("read_record", READ_RECORD, std::slice::from_ref(id)).await?;
        let head = rows.head.take().ok_or_else(|| unexpected("read_record"))?;
        let record = rows.take_record(id);
        Ok(FullRecord { now: head.now, incarnation: head.incarnation, validity: head.validity, record })
    }

    pub(super) async fn stale_page(&self, page: &Page) -> Result<Scanned> {
        let after = after(page.cursor.as_deref())?;
        let limit = page.limit.max(1);
        let bind = |query: Statement| query.bind(self.name.clone()).bind(after.clone()).bind(limit as i64 + 1);
        let rows = self.link.read(STALE, bind).await?;
        let listing = Listing::read(&rows, limit, &self.link.place.file)?;
        // Lazy ones count for the page, so that a page has an end however many there are.
        let entries = listing.rows.iter().filter(|(_, row)| row.int(2).is_ok_and(|lazy| lazy == Some(0)));
        let entries = entries.map(|(id, row)| Ok((*id, timestamp(row.int(1)?.unwrap_or(0)))));
        let entries =
            entries.collect::<Result<_, sqlx::Error>>().map_err(|error| failed(error, &self.link.place.file))?;
        Ok(Scanned { entries, next: listing.next })
    }

    pub(super) async fn dependants_page(&self, dependency: &Dependency, page: &Page) -> Result<Dependants> {
        let after = after(page.cursor.as_deref())?;
        let limit = page.limit.max(1);
        let bind = |query: Statement| {
            query
                .bind(self.name.clone())
                .bind(after.clone())
                .bind(limit as i64 + 1)
                .bind(dependency.as_bytes().to_vec())
        };
        let rows = self.link.read(DEPENDANTS, bind).await?;
        let listing = Listing::read(&rows, limit, &self.link.place.file)?;
        let one = |(id, row): &(EntryId, &_)| {
            let direct = Cells::int(*row, 1)? == Some(1);
            Ok((*id, if direct { Via::Direct } else { Via::Child }))
        };
        let entries = listing.rows.iter().map(one).collect::<Result<_, sqlx::Error>>();
        let entries = entries.map_err(|error| failed(error, &self.link.place.file))?;
        Ok(Dependants { entries, next: listing.next })
    }

    pub(super) async fn numbers(&self) -> Result<StoreStats> {
        let rows = self.link.read(STATS, |query| query.bind(self.name.clone())).await?;
        let mut stats = StoreStats::default();
        let Some(row) = rows.first() else { return Ok(stats) };
        let cell = |place| row.int(place).map(|cell| cell.map_or(0, count)).map_err(|error| self.link.failed(error));
        stats.entries = cell(0)?;
        stats.stale = cell(1)?;
        stats.running = cell(2)?;
        stats.revision = cell(3)?;
        stats.invalidations = cell(4)?;
        Ok(stats)
    }
}

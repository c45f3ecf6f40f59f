//! Reading: one statement, so one snapshot and one round trip.

use smache_core::{
    Dependants, Dependency, EntryId, Error, ErrorKind, FullRecord, Lookup, Page, Result, Scanned, StoreStats, Via,
};
use sqlx::Row;

use super::PostgresStore;
use crate::{
    cells::{Cells, count, id_list, timestamp},
    error::{failed, unexpected},
    page::{Listing, after},
    record::Rows,
};

const LOOKUP: &str = include_str!("../../../queries/postgres/lookup.sql");
const READ_RECORD: &str = include_str!("../../../queries/postgres/read_record.sql");
const MAKE_NAMESPACE: &str = concat!("SELECT ns FROM smache_namespace(", name!(), ", 0)");
const STALE: &str = "SELECT e.id, coalesce(e.since, e.stored_at), e.lazy::int::bigint \
     FROM smache_entries e JOIN smache_namespaces n USING (ns) \
     WHERE n.name = $1 AND e.staleness > 0 AND e.id > $2 ORDER BY e.id LIMIT $3";
const DEPENDANTS: &str = "SELECT e.id, e.direct::int::bigint FROM smache_edges e JOIN smache_namespaces n USING (ns) \
     WHERE n.name = $1 AND e.dep = $4 AND e.id > $2 ORDER BY e.id LIMIT $3";
const STATS: &str = "SELECT \
     (SELECT count(*) FROM smache_entries e WHERE e.ns = n.ns) AS entries, \
     (SELECT count(*) FROM smache_entries e WHERE e.ns = n.ns AND e.staleness > 0) AS stale, \
     (SELECT count(*) FROM smache_runs r WHERE r.ns = n.ns) AS running, n.revision AS revision, \
     (SELECT count(*) FROM smache_changed c WHERE c.ns = n.ns) AS invalidations \
     FROM smache_namespaces n WHERE n.name = $1";

impl PostgresStore {
    /// The rows of a look-up. The first look-up of a namespace makes its row, since an answer needs an epoch.
    async fn rows(&self, operation: &'static str, sql: &'static str, ids: &[EntryId]) -> Result<Rows> {
        for _ in 0..2 {
            let bind = |query: super::Statement| query.bind(self.name.clone()).bind(id_list(ids));
            let rows = self.link.read(operation, sql, bind).await?;
            let rows = Rows::read(&rows, &self.link.server)?;
            if rows.head.is_some() {
                return Ok(rows);
            }
            self.link.step(operation, MAKE_NAMESPACE, |query| query.bind(self.name.clone())).await?;
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
        let bind = |query: super::Statement| query.bind(self.name.clone()).bind(after.clone()).bind(limit as i64 + 1);
        let rows = self.link.read("stale", STALE, bind).await?;
        let listing = Listing::read(&rows, limit, &self.link.server)?;
        // Lazy ones count for the page, so that a page has an end however many there are.
        let entries = listing.rows.iter().filter(|(_, row)| row.int(2).is_ok_and(|lazy| lazy == Some(0)));
        let entries = entries.map(|(id, row)| Ok((*id, timestamp(row.int(1)?.unwrap_or(0)))));
        let entries = entries.collect::<Result<_, sqlx::Error>>().map_err(|error| failed(error, &self.link.server))?;
        Ok(Scanned { entries, next: listing.next })
    }

    pub(super) async fn dependants_page(&self, dependency: &Dependency, page: &Page) -> Result<Dependants> {
        let after = after(page.cursor.as_deref())?;
        let limit = page.limit.max(1);
        let bind = |query: super::Statement| {
            query
                .bind(self.name.clone())
                .bind(after.clone())
                .bind(limit as i64 + 1)
                .bind(dependency.as_bytes().to_vec())
        };
        let rows = self.link.read("dependants", DEPENDANTS, bind).await?;
        let listing = Listing::read(&rows, limit, &self.link.server)?;
        let one = |(id, row): &(EntryId, &_)| {
            let direct = Cells::int(*row, 1)? == Some(1);
            Ok((*id, if direct { Via::Direct } else { Via::Child }))
        };
        let entries = listing.rows.iter().map(one).collect::<Result<_, sqlx::Error>>();
        let entries = entries.map_err(|error| failed(error, &self.link.server))?;
        Ok(Dependants { entries, next: listing.next })
    }

    pub(super) async fn numbers(&self) -> Result<StoreStats> {
        let rows = self.link.read("stats", STATS, |query| query.bind(self.name.clone())).await?;
        let mut stats = StoreStats::default();
        let Some(row) = rows.first() else { return Ok(stats) };
        let get = |name: &str| {
            row.try_get::<i64, _>(name).map(count).map_err(|error| {
                Error::new(ErrorKind::Internal, "the numbers of a namespace cannot be read").with_source(error)
            })
        };
        stats.entries = get("entries")?;
        stats.stale = get("stale")?;
        stats.running = get("running")?;
        stats.revision = get("revision")?;
        stats.invalidations = get("invalidations")?;
        Ok(stats)
    }
}

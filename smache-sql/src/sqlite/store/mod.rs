//! The store: one transaction a step.

mod commit;
mod feeds;
mod invalidate;
mod lookup;
mod maintain;
mod programs;
mod runs;
mod waits;

use std::sync::Arc;

use smache_core::{EntryId, Incarnation, JobWrites, Namespace, Result, Validity};

use super::{
    jobs::ids,
    link::{Link, Step, name_of},
};
use crate::{
    cells::Cells,
    error::unexpected,
    record::{Head, Rows, decode_epochs},
};

const LOOKUP: &str = include_str!("../../../queries/sqlite/lookup.sql");
const READ_RECORD: &str = include_str!("../../../queries/sqlite/read_record.sql");
const FORGET: &str = "DELETE FROM smache_entries WHERE ns = $1 AND id = $2 RETURNING used";
const DROP_EDGES: &str =
    "DELETE FROM smache_edges WHERE ns = $1 AND id = $2 AND dep IN (SELECT unhex(value) FROM json_each($3))";
const NEEDS: &str = "SELECT staleness, lazy, epochs FROM smache_entries WHERE ns = $1 AND id = $2";

/// A cache store on SQLite.
pub struct SqliteStore {
    link: Arc<Link>,
    name: String,
    jobs: JobWrites,
}

impl SqliteStore {
    pub(super) fn new(link: Arc<Link>, namespace: &Namespace, jobs: JobWrites) -> Self {
        Self { link, name: name_of(namespace), jobs }
    }
}

/// The helpers that the steps of the store share.
impl Step<'_> {
    /// The rows of a look-up, as of this step.
    async fn look(&mut self, sql: &'static str, all: &[EntryId]) -> Result<Rows> {
        let (name, now, place) = (self.name.to_owned(), self.now, self.place);
        let bind = |query: super::link::Statement| query.bind(name).bind(ids(all)).bind(now).bind(place.mark.clone());
        let rows = self.rows(sql, bind).await?;
        Rows::read(&rows, &place.file)
    }

    /// The row of the namespace with its sources and the incarnation.
    async fn head(&mut self) -> Result<Head> {
        self.look(LOOKUP, &[]).await?.head.ok_or_else(|| unexpected("step"))
    }

    async fn validity(&mut self) -> Result<Arc<Validity>> {
        self.head().await.map(|head| head.validity)
    }

    async fn incarnation(&mut self) -> Result<Incarnation> {
        self.head().await.map(|head| head.incarnation)
    }

    /// Removes a record with its edges and its job, but not its run: the run of the entry may still store its result.
    async fn forget(&mut self, id: &EntryId, jobs: bool) -> Result<bool> {
        let (ns, bytes) = (self.ns, id.as_bytes().to_vec());
        let gone = self.row(FORGET, |query| query.bind(ns).bind(bytes)).await?;
        if let Some(row) = &gone {
            let used = row.bytes(0).map_err(|error| self.failed(error))?.unwrap_or_default();
            self.drop_edges(id, used.chunks(17).map(|used| &used[..16.min(used.len())])).await?;
        }
        if jobs {
            self.take_back(std::slice::from_ref(id)).await?;
        }
        Ok(gone.is_some())
    }

    async fn drop_edges(&mut self, id: &EntryId, of: impl IntoIterator<Item = &[u8]> + Send) -> Result<()> {
        let (ns, id, of) = (self.ns, id.as_bytes().to_vec(), super::jobs::list(of));
        self.execute(DROP_EDGES, |query| query.bind(ns).bind(id).bind(of)).await.map(drop)
    }

    /// The lane in which a job has to compute an entry; none for a fresh entry, or one that its readers refresh.
    async fn lane_of_need(&mut self, id: &EntryId, validity: &Validity) -> Result<Option<i64>> {
        let (ns, id) = (self.ns, id.as_bytes().to_vec());
        let Some(row) = self.row(NEEDS, |query| query.bind(ns).bind(id)).await? else { return Ok(None) };
        let cell = |place| row.int(place).map(Option::unwrap_or_default).map_err(|error| self.failed(error));
        let epochs = row.bytes(2).map_err(|error| self.failed(error))?.unwrap_or_default();
        Ok(match (cell(0)?, cell(1)?) {
            (_, 1) => None,
            (2, _) => Some(1),
            _ if !decode_epochs(&epochs).is_some_and(|epochs| validity.has_epochs(&epochs)) => Some(1),
            (0, _) => None,
            (1, _) => Some(0),
            // Damaged.
            _ => Some(1),
        })
    }
}

crate::contract::cache_store!(SqliteStore);

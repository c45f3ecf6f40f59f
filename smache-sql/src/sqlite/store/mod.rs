//! The store: one transaction per step.

mod commit;
mod feeds;
mod invalidate;
mod lookup;
mod maintain;
mod programs;
mod runs;
mod waits;

use std::sync::Arc;

use smache_core::{
    EntryId, Epochs, Incarnation, JobWrites, Lane, Namespace, Result, Staleness, UsedDependency, Validity,
};

use super::{
    jobs::ids,
    link::{Link, Step, name_of},
};
use crate::{
    cells::{Cells, lane_number},
    error::unexpected,
    record::{Head, Rows},
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
        let name = self.name.to_owned();
        let now = self.now;
        let place = self.place;
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
        let ns = self.ns;
        let bytes = id.as_bytes().to_vec();
        let gone = self.row(FORGET, |query| query.bind(ns).bind(bytes)).await?;
        if let Some(row) = &gone {
            let used = row.bytes(0).map_err(|error| self.failed(error))?.unwrap_or_default();
            let edges = UsedDependency::edges_in(&used);
            self.drop_edges(id, edges.iter().map(|edge| edge.dependency.as_bytes().as_slice())).await?;
        }
        if jobs {
            self.take_back(std::slice::from_ref(id)).await?;
        }
        Ok(gone.is_some())
    }

    async fn drop_edges(&mut self, id: &EntryId, of: impl IntoIterator<Item = &[u8]> + Send) -> Result<()> {
        let ns = self.ns;
        let id = id.as_bytes().to_vec();
        let of = super::jobs::list(of);
        self.execute(DROP_EDGES, |query| query.bind(ns).bind(id).bind(of)).await.map(drop)
    }

    /// The lane in which a job has to compute an entry; none for a fresh entry, or one that its readers refresh.
    async fn lane_of_need(&mut self, id: &EntryId, validity: &Validity) -> Result<Option<i64>> {
        let ns = self.ns;
        let id = id.as_bytes().to_vec();
        let Some(row) = self.row(NEEDS, |query| query.bind(ns).bind(id)).await? else { return Ok(None) };
        let cell = |place| row.int(place).map(Option::unwrap_or_default).map_err(|error| self.failed(error));
        let epochs = row.bytes(2).map_err(|error| self.failed(error))?.unwrap_or_default();
        let staleness = match cell(0)? {
            0 => Staleness::Fresh,
            1 => Staleness::MaybeStale,
            // Also a damaged one.
            _ => Staleness::Stale,
        };
        if cell(1)? == 1 {
            return Ok(None);
        }
        let lane = match Epochs::decode(&epochs) {
            Some(epochs) => validity.lane_of_need(staleness, &epochs),
            None => Some(Lane::Recompute),
        };
        Ok(lane.map(lane_number))
    }
}

crate::contract::cache_store!(SqliteStore);

//! The store: one transaction per step.

mod commit;
mod feeds;
mod invalidate;
mod lookup;
mod maintain;
mod programs;
mod runs;
mod view;
mod waits;

use std::sync::Arc;

use smache_core::{EntryId, JobWrites, Namespace, Result, UsedDependency};

use super::{
    jobs::ids,
    link::{Link, Statement, name_of},
    step::Step,
};
use crate::{cells::Cells, record::Rows};

const LOOKUP: &str = include_str!("../../../queries/sqlite/lookup.sql");
const READ_RECORD: &str = include_str!("../../../queries/sqlite/read_record.sql");
const FORGET: &str = "DELETE FROM smache_entries WHERE ns = $1 AND id = $2 RETURNING used";
const DROP_EDGES: &str =
    "DELETE FROM smache_edges WHERE ns = $1 AND id = $2 AND dep IN (SELECT unhex(value) FROM json_each($3))";

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
        let bind = |query: Statement| query.bind(name).bind(ids(all)).bind(now).bind(place.mark.clone());
        let rows = self.rows(sql, bind).await?;
        Rows::read(&rows, &place.file)
    }

    /// Removes a record with its edges, but not its run: the run of the entry may still store its result.
    async fn forget(&mut self, id: &EntryId) -> Result<bool> {
        let ns = self.ns;
        let bytes = id.as_bytes().to_vec();
        let gone = self.row(FORGET, |query| query.bind(ns).bind(bytes)).await?;
        if let Some(row) = &gone {
            let used = row.bytes(0).map_err(|error| self.failed(error))?.unwrap_or_default();
            let edges = UsedDependency::edges_in(&used);
            self.drop_edges(id, edges.iter().map(|edge| edge.dependency.as_bytes().as_slice())).await?;
        }
        Ok(gone.is_some())
    }

    async fn drop_edges(&mut self, id: &EntryId, of: impl IntoIterator<Item = &[u8]> + Send) -> Result<()> {
        let ns = self.ns;
        let id = id.as_bytes().to_vec();
        let of = super::jobs::list(of);
        self.execute(DROP_EDGES, |query| query.bind(ns).bind(id).bind(of)).await.map(drop)
    }
}

crate::contract::cache_store!(SqliteStore);

//! Runs: begin, abort, extend, remove.

use std::time::Duration;

use smache_core::{Abort, Begin, BeginOutcome, Begun, EntryId, Result, Token, support::limits::ERROR_BYTES};

use super::PostgresStore;
use crate::{
    cells::{clip, id_list, millis},
    error::unexpected,
    record::Rows,
};

const BEGIN: &str = concat!("SELECT * FROM smache_begin(", name!(), ", $2, $3, $4)");
const ABORT: &str = concat!("SELECT smache_abort(", name!(), ", $2, $3, $4, $5, $6) AS held");
const EXTEND: &str = concat!("SELECT smache_extend_runs(", name!(), ", $2, $3, $4) AS held");
const REMOVE: &str = concat!("SELECT smache_remove(", name!(), ", $2, $3, $4) AS removed");

/// An id as an argument.
pub(super) fn bytes(id: &EntryId) -> Vec<u8> {
    id.as_bytes().to_vec()
}

impl PostgresStore {
    pub(super) async fn begin_run(&self, begin: &Begin) -> Result<BeginOutcome> {
        let bind = |query: super::Statement| {
            let query = query.bind(self.name.clone()).bind(bytes(&begin.id));
            query.bind(begin.token.as_bytes().to_vec()).bind(millis(begin.lease))
        };
        let rows = self.link.step("begin", BEGIN, bind).await?;
        let mut rows = Rows::read(&rows, &self.link.server)?;
        if let Some(remaining) = rows.busy {
            return Ok(BeginOutcome::Busy { remaining });
        }
        let head = rows.head.take().ok_or_else(|| unexpected("begin"))?;
        let rest = rows.take_rest(&begin.id);
        let conflicts = rest.as_ref().map_or(0, |rest| rest.conflicts);
        let (call, used) = rest.map(|rest| (rest.call, rest.used)).unzip();
        Ok(BeginOutcome::Begun(Box::new(Begun {
            start_revision: head.revision,
            now: head.now,
            incarnation: head.incarnation,
            validity: head.validity,
            entry: rows.entries.remove(&begin.id),
            call,
            used: used.unwrap_or_default(),
            conflicts,
            // An invalidation is one step here.
            pending: false,
        })))
    }

    pub(super) async fn abort_run(&self, abort: &Abort) -> Result<bool> {
        let bind = |query: super::Statement| {
            query
                .bind(bytes(&abort.id))
                .bind(abort.token.as_bytes().to_vec())
                .bind(abort.failure.as_deref().map(|failure| clip(failure, ERROR_BYTES)))
                .bind(millis(abort.delay))
                .bind(self.writes_jobs())
        };
        let held = self.step("abort", ABORT, bind).await?.get("held")?;
        if held && self.writes_jobs() {
            self.notifier.notify();
        }
        Ok(held)
    }

    pub(super) async fn extend_runs(&self, runs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
        let (ids, tokens): (Vec<EntryId>, Vec<Vec<u8>>) =
            runs.iter().map(|(id, token)| (*id, token.as_bytes().to_vec())).unzip();
        let bind = |query: super::Statement| query.bind(id_list(&ids)).bind(&tokens).bind(millis(lease));
        self.step("extend", EXTEND, bind).await?.get("held")
    }

    pub(super) async fn remove_entry(&self, id: &EntryId, token: Option<Token>) -> Result<bool> {
        let bind = |query: super::Statement| {
            let token = token.map(|token| token.as_bytes().to_vec());
            query.bind(bytes(id)).bind(token).bind(self.writes_jobs())
        };
        self.step("remove", REMOVE, bind).await?.get("removed")
    }
}

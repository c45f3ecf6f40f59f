//! Runs: begin, abort, extend, remove.

use std::time::Duration;

use smache_core::{Abort, Begin, BeginOutcome, Begun, EntryId, Result, Token, support::limits::ERROR_BYTES};

use super::{READ_RECORD, SqliteStore, Step};
use crate::{
    cells::{Cells, clip, count, millis},
    error::unexpected,
    sqlite::{jobs::USUAL_PRIORITY, link::Statement},
};

const RUN: &str = "SELECT token, start_revision, until FROM smache_runs WHERE ns = $1 AND id = $2";
const PUT_RUN: &str =
    "INSERT OR REPLACE INTO smache_runs (ns, id, token, start_revision, until) VALUES ($1, $2, $3, $4, $5)";
const END_RUN: &str = "DELETE FROM smache_runs WHERE ns = $1 AND id = $2 AND ($3 IS NULL OR token = $3)";
const EXTEND: &str = "UPDATE smache_runs SET until = $4 WHERE ns = $1 AND id = $2 AND token = $3";
const FAILED: &str = "UPDATE smache_entries SET failures = min(failures, 4294967294) + 1, failure = $3, failed_at = $4 \
     WHERE ns = $1 AND id = $2";

/// An id as an argument.
pub(super) fn bytes(id: &EntryId) -> Vec<u8> {
    id.as_bytes().to_vec()
}

impl SqliteStore {
    pub(super) async fn begin_run(&self, begin: &Begin) -> Result<BeginOutcome> {
        let now = self.link.now();
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, now).await?;
        let ns = step.ns;
        let mut start_revision = step.revision;
        if let Some(run) = step.row(RUN, |query| query.bind(ns).bind(bytes(&begin.id))).await? {
            let token = run.bytes(0).map_err(|error| step.failed(error))?.unwrap_or_default();
            let cell = |place| run.int(place).map(Option::unwrap_or_default).map_err(|error| step.failed(error));
            let until = cell(2)?;
            if token == begin.token.as_bytes() {
                start_revision = cell(1)?;
            } else if until > now {
                return Ok(BeginOutcome::Busy { remaining: Duration::from_millis(count(until - now)) });
            }
        }
        let bind = |query: Statement| {
            let query = query.bind(ns).bind(bytes(&begin.id)).bind(begin.token.as_bytes().to_vec());
            query.bind(start_revision).bind(now + millis(begin.lease))
        };
        step.execute(PUT_RUN, bind).await?;
        let mut rows = step.look(READ_RECORD, std::slice::from_ref(&begin.id)).await?;
        step.commit().await?;

        let head = rows.head.take().ok_or_else(|| unexpected("begin"))?;
        let rest = rows.take_rest(&begin.id);
        let conflicts = rest.as_ref().map_or(0, |rest| rest.conflicts);
        let (call, used) = rest.map(|rest| (rest.call, rest.used)).unzip();
        Ok(BeginOutcome::Begun(Box::new(Begun {
            start_revision: count(start_revision),
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
        let now = self.link.now();
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, now).await?;
        if !step.end_run(&abort.id, Some(abort.token)).await? {
            return Ok(false);
        }
        let ns = step.ns;
        if let Some(failure) = &abort.failure {
            let failure = clip(failure, ERROR_BYTES);
            let bind = |query: Statement| query.bind(ns).bind(bytes(&abort.id)).bind(failure).bind(now);
            step.execute(FAILED, bind).await?;
        }
        if self.writes_jobs() {
            let validity = step.validity().await?;
            if let Some(lane) = step.lane_of_need(&abort.id, &validity).await? {
                step.ensure(&abort.id, lane, USUAL_PRIORITY, now + millis(abort.delay)).await?;
            }
        }
        step.commit().await?;
        Ok(true)
    }

    pub(super) async fn extend_runs(&self, runs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
        let now = self.link.now();
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, now).await?;
        let ns = step.ns;
        let until = now + millis(lease);
        let mut held = Vec::with_capacity(runs.len());
        for (id, token) in runs {
            let bind = |query: Statement| query.bind(ns).bind(bytes(id)).bind(token.as_bytes().to_vec()).bind(until);
            held.push(step.execute(EXTEND, bind).await? > 0);
        }
        step.commit().await?;
        Ok(held)
    }

    pub(super) async fn remove_entry(&self, id: &EntryId, token: Option<Token>) -> Result<bool> {
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, self.link.now()).await?;
        let run = step.end_run(id, token).await?;
        if token.is_some() && !run {
            return Ok(false);
        }
        let record = step.forget(id, self.writes_jobs()).await?;
        step.commit().await?;
        Ok(run || record)
    }
}

impl Step<'_> {
    /// Ends the run of an entry; with a token only that one. Returns whether there was one.
    async fn end_run(&mut self, id: &EntryId, token: Option<Token>) -> Result<bool> {
        let ns = self.ns;
        let id = bytes(id);
        let token = token.map(|token| token.as_bytes().to_vec());
        self.execute(END_RUN, |query| query.bind(ns).bind(id).bind(token)).await.map(|ended| ended > 0)
    }
}

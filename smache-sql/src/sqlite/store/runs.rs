//! Runs: begin, abort, extend, remove.

use std::time::Duration;

use smache_core::{
    Abort, Begin, BeginOutcome, Begun, EntryId, Result, Token,
    protocol::{self, Beginning, Ended, JobWrite},
};

use super::{
    READ_RECORD, SqliteStore, Statement, Step,
    view::{View, run},
};
use crate::{
    cells::{millis, number, time},
    error::unexpected,
};

const RUN: &str = "SELECT token, start_revision, until FROM smache_runs WHERE ns = $1 AND id = $2";
const PUT_RUN: &str =
    "INSERT OR REPLACE INTO smache_runs (ns, id, token, start_revision, until) VALUES ($1, $2, $3, $4, $5)";
/// The notes of a run end with it, also where a late request begins it once more.
const PUT_NEW_RUN: &str = "DELETE FROM smache_waits WHERE ns = $1 AND id = $2 AND token = $3; \
     INSERT OR REPLACE INTO smache_runs (ns, id, token, start_revision, until) VALUES ($1, $2, $3, $4, $5)";
const END_RUN: &str = "DELETE FROM smache_runs WHERE ns = $1 AND id = $2";
const EXTEND: &str = "UPDATE smache_runs SET until = $4 WHERE ns = $1 AND id = $2 AND token = $3";
const FAILED: &str = "UPDATE smache_entries SET failures = $3, failure = $4, failed_at = $5 WHERE ns = $1 AND id = $2";

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
        let old = step.row(RUN, |query| query.bind(ns).bind(bytes(&begin.id))).await?;
        let old = old.map_or(Ok(None), |row| run(&row, 0, 1)).map_err(|error| step.failed(error))?;
        let begun = match protocol::begin(old.as_ref(), step.revision, step.time(), begin) {
            Beginning::Busy(remaining) => return Ok(BeginOutcome::Busy { remaining }),
            Beginning::Begun(begun) => begun,
        };
        let bind = |query: Statement| {
            let query = query.bind(ns).bind(bytes(&begin.id)).bind(begun.token.as_bytes().to_vec());
            query.bind(number(begun.start_revision)).bind(time(begun.until))
        };
        let is_new = old.is_none_or(|old| old.token != begun.token);
        step.execute(if is_new { PUT_NEW_RUN } else { PUT_RUN }, bind).await?;
        let mut rows = step.look(READ_RECORD, std::slice::from_ref(&begin.id)).await?;
        step.commit().await?;

        let head = rows.head.take().ok_or_else(|| unexpected("begin"))?;
        let rest = rows.take_rest(&begin.id);
        let conflicts = rest.as_ref().map_or(0, |rest| rest.conflicts);
        let (call, used) = rest.map(|rest| (rest.call, rest.used)).unzip();
        Ok(BeginOutcome::Begun(Box::new(Begun {
            start_revision: begun.start_revision,
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
        let id = &abort.id;
        let mut view = step.view(id).await?;
        let Some(aborting) = protocol::abort(&step.ended(&view), abort) else { return Ok(false) };
        step.end_run(id).await?;
        if let Some(head) = &aborting.head {
            let ns = step.ns;
            let failure = head.last_failure.as_ref();
            // SQLite would end the text at a zero.
            let message = failure.map(|failure| failure.message.replace('\0', " "));
            let at = failure.map(|failure| time(failure.at));
            let bind =
                |query: Statement| query.bind(ns).bind(bytes(id)).bind(i64::from(head.failures)).bind(message).bind(at);
            step.execute(FAILED, bind).await?;
        }
        if self.writes_jobs() {
            step.write_job(&mut view.jobs, id, aborting.job).await?;
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
        let mut view = step.view(id).await?;
        if !protocol::may_remove(view.run.as_ref(), token) {
            return Ok(false);
        }
        if view.run.is_some() {
            step.end_run(id).await?;
        }
        let record = step.forget(id).await?;
        if self.writes_jobs() {
            step.write_job(&mut view.jobs, id, JobWrite::TakeBack).await?;
        }
        step.commit().await?;
        Ok(view.run.is_some() || record)
    }
}

impl Step<'_> {
    /// What the end of a run without a value reads.
    pub(super) fn ended<'v>(&'v self, view: &'v View) -> Ended<'v> {
        Ended { now: self.time(), run: view.run.as_ref(), head: view.head.as_ref(), validity: &self.validity }
    }

    /// Ends the run of an entry.
    pub(super) async fn end_run(&mut self, id: &EntryId) -> Result<()> {
        let ns = self.ns;
        let id = bytes(id);
        self.execute(END_RUN, |query| query.bind(ns).bind(id)).await.map(drop)
    }
}

//! The jobs that steps of stores and queues write.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};
use smache_core::{
    EntryId, Result, Token,
    protocol::{self, JobStage, JobWrite, Request, StoredJob},
};
use sqlx::sqlite::SqliteRow;

use super::step::Step;
use crate::{
    cells::{Cells, few, id_list, lane, lane_number, time, timestamp},
    job::state_number,
};

const NEED: &str = include_str!("../../queries/sqlite/need.sql");
/// As rows of a view: the id in the place of the kind.
const JOBS: &str = "SELECT id, token, NULL, NULL, error, lane, priority, state, at, errors, crashes, again_at, again_lane, \
     again_priority FROM smache_jobs WHERE ns = $1 AND id IN (SELECT unhex(value) FROM json_each($2))";
const WRITE_JOBS: &str = include_str!("../../queries/sqlite/write_jobs.sql");
const DELETE_JOBS: &str = "DELETE FROM smache_jobs WHERE ns = $1 AND id IN (SELECT unhex(value) FROM json_each($2))";

/// How urgent the jobs are that the store itself writes.
pub(super) const USUAL_PRIORITY: i64 = smache_core::support::limits::USUAL_PRIORITY as i64;

/// Rows per statement.
pub(super) const PER_STATEMENT: usize = 1_000;

/// Byte strings as an array of JSON, which SQLite takes apart again.
pub(super) fn list<'a>(all: impl IntoIterator<Item = &'a [u8]>) -> String {
    let all: Vec<String> = all.into_iter().map(hex).collect();
    if all.is_empty() { "[]".to_owned() } else { format!("[\"{}\"]", all.join("\",\"")) }
}

pub(super) fn ids(all: &[EntryId]) -> String {
    list(id_list(all))
}

/// Pairs of a byte string and a number, likewise.
pub(super) fn pairs<'a>(all: impl IntoIterator<Item = (&'a [u8], i64)>) -> String {
    let all: Vec<String> = all.into_iter().map(|(bytes, number)| format!("[\"{}\",{number}]", hex(bytes))).collect();
    format!("[{}]", all.join(","))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

impl Step<'_> {
    /// A change needs entries to be computed, each in a lane.
    pub(super) async fn need(&mut self, needs: &[(EntryId, i64)], priority: i64, due: i64) -> Result<()> {
        let ns = self.ns;
        for needs in needs.chunks(PER_STATEMENT) {
            let needs = pairs(needs.iter().map(|(id, lane)| (id.as_bytes().as_slice(), *lane)));
            self.execute(NEED, |query| query.bind(ns).bind(needs).bind(priority).bind(due)).await?;
            self.notify();
        }
        Ok(())
    }

    /// The jobs of entries.
    pub(super) async fn jobs(&mut self, all: &[EntryId]) -> Result<Jobs> {
        let ns = self.ns;
        let mut jobs = Jobs::default();
        for some in all.chunks(PER_STATEMENT) {
            let some = ids(some);
            for row in &self.rows(JOBS, |query| query.bind(ns).bind(some)).await? {
                let id = row.bytes(0).map_err(|error| self.failed(error))?.unwrap_or_default();
                jobs.read(EntryId::from_slice(&id)?, row).map_err(|error| self.failed(error))?;
            }
        }
        Ok(jobs)
    }

    /// Does to the job of an entry what a step on the entry says.
    pub(super) async fn write_job(&mut self, jobs: &mut Jobs, id: &EntryId, write: JobWrite) -> Result<()> {
        let job = protocol::job_write(jobs.get(id), write, self.time());
        jobs.put(*id, job);
        self.write_jobs(jobs).await
    }

    /// Writes the jobs that were replaced, and wakes the waiting workers if one of them is queued.
    pub(super) async fn write_jobs(&mut self, jobs: &mut Jobs) -> Result<()> {
        let ns = self.ns;
        let replaced: Vec<EntryId> = std::mem::take(&mut jobs.replaced).into_iter().collect();
        let (written, gone): (Vec<_>, Vec<_>) = replaced.into_iter().partition(|id| jobs.present.contains_key(id));
        for some in gone.chunks(PER_STATEMENT) {
            let some = ids(some);
            self.execute(DELETE_JOBS, |query| query.bind(ns).bind(some)).await?;
        }
        for some in written.chunks(PER_STATEMENT) {
            let rows = some.iter().filter_map(|id| jobs.get(id).map(|job| cells_of(id, job)));
            let rows = Value::Array(rows.collect()).to_string();
            self.execute(WRITE_JOBS, |query| query.bind(ns).bind(rows)).await?;
        }
        let is_queued = |id: &EntryId| jobs.get(id).is_some_and(|job| matches!(job.stage, JobStage::Queued { .. }));
        if written.iter().any(is_queued) {
            self.notify();
        }
        Ok(())
    }
}

/// The jobs of some entries as a step sees them.
#[derive(Default)]
pub(super) struct Jobs {
    present: HashMap<EntryId, StoredJob>,
    /// Rows that cannot be read: their jobs count as absent, and are replaced.
    damaged: HashSet<EntryId>,
    replaced: BTreeSet<EntryId>,
}

impl Jobs {
    /// Takes a row.
    pub(super) fn read(&mut self, id: EntryId, row: &SqliteRow) -> Result<(), sqlx::Error> {
        match stored(row)? {
            Some(job) => drop(self.present.insert(id, job)),
            None => drop(self.damaged.insert(id)),
        }
        Ok(())
    }

    pub(super) fn get(&self, id: &EntryId) -> Option<&StoredJob> {
        self.present.get(id)
    }

    /// Replaces a job; `None` removes it.
    pub(super) fn put(&mut self, id: EntryId, job: Option<StoredJob>) {
        if self.present.get(&id) == job.as_ref() && !self.damaged.remove(&id) {
            return;
        }
        match job {
            Some(job) => drop(self.present.insert(id, job)),
            None => drop(self.present.remove(&id)),
        }
        self.replaced.insert(id);
    }
}

/// A job from a row of a view; `None` if no worker could ever find it.
pub(super) fn stored(row: &SqliteRow) -> Result<Option<StoredJob>, sqlx::Error> {
    let Some(lane) = lane(row.int(5)?) else { return Ok(None) };
    let priority = |cell: i64| u8::try_from(cell.max(0)).unwrap_or(u8::MAX);
    let at = timestamp(row.int(8)?.unwrap_or(0));
    let own_priority = priority(row.int(6)?.unwrap_or(0));
    let stage = match row.int(7)? {
        Some(0) => JobStage::Queued { due: at },
        Some(1) => {
            let again_priority = row.int(13)?.map_or(own_priority, priority);
            let again_lane = self::lane(row.int(12)?).unwrap_or(lane);
            let again = |due| Request { due: timestamp(due), lane: again_lane, priority: again_priority };
            // One without a token belongs to no worker, and its lease ends.
            let token = row.bytes(1)?.and_then(|token| Token::from_slice(&token).ok());
            let token = token.unwrap_or(Token::from_bytes([0; Token::LEN]));
            JobStage::Running { token, until: at, again: row.int(11)?.map(again) }
        }
        Some(2) => JobStage::DeadLetter { at },
        _ => return Ok(None),
    };
    let (errors, crashes) = (few(row.int(9)?.unwrap_or(0)), few(row.int(10)?.unwrap_or(0)));
    // An error that is no text is left out.
    let error = row.text(4).ok().flatten();
    Ok(Some(StoredJob { lane, priority: own_priority, errors, crashes, error, stage }))
}

/// A job as an array of JSON, in the order of [`WRITE_JOBS`].
fn cells_of(id: &EntryId, job: &StoredJob) -> Value {
    let (state, at) = job.state();
    let (token, again) = match &job.stage {
        JobStage::Running { token, again, .. } => (Some(hex(token.as_bytes())), again.as_ref()),
        JobStage::Queued { .. } | JobStage::DeadLetter { .. } => (None, None),
    };
    json!([
        hex(id.as_bytes()),
        token,
        // SQLite would end the text at a zero.
        job.error.as_ref().map(|error| error.replace('\0', " ")),
        lane_number(job.lane),
        job.priority,
        state_number(state),
        time(at),
        job.errors,
        job.crashes,
        again.map(|again| time(again.due)),
        again.map(|again| lane_number(again.lane)),
        again.map(|again| again.priority),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_strings_are_written_as_json() {
        assert_eq!(list([]), "[]");
        assert_eq!(list([&[0_u8, 0xaf][..], &[9]]), r#"["00af","09"]"#);
        assert_eq!(pairs([(&[1_u8][..], 0), (&[2], 1)]), r#"[["01",0],["02",1]]"#);
    }
}

//! Runs: begin, commit, abort, extend, remove.

use std::time::Duration;

use smache_core::{
    Abort, Begin, BeginOutcome, Begun, Commit, CommitOutcome, Dependency, EntryId, OnConflict, RecordWaits, Result,
    Timestamp, Token,
};

use super::PostgresStore;
use crate::{
    cells::{KEPT_ERROR, clip, id_list, millis, number, time},
    error::unexpected,
    record::{Rows, edges, encode_edges, encode_epochs, named, via_number},
    waits::{MOST, leading_on},
};

const BEGIN: &str = concat!("SELECT * FROM smache_begin(", name!(), ", $2, $3, $4)");
const COMMIT: &str = concat!(
    "SELECT * FROM smache_commit(",
    name!(),
    ", $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)"
);
const ABORT: &str = concat!("SELECT smache_abort(", name!(), ", $2, $3, $4, $5, $6) AS held");
const WAIT: &str = concat!("SELECT ids, children FROM smache_record_waits(", name!(), ", $2, $3, $4, $5, $6)");
const EXTEND: &str = concat!("SELECT smache_extend_runs(", name!(), ", $2, $3, $4) AS held");
const REMOVE: &str = concat!("SELECT smache_remove(", name!(), ", $2, $3, $4) AS removed");

/// An id as an argument.
fn bytes(id: &EntryId) -> Vec<u8> {
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

    pub(super) async fn commit_run(&self, commit: &Commit) -> Result<CommitOutcome> {
        let edges = edges(&commit.used);
        let dependencies: Vec<&[u8]> = commit.used.iter().map(|used| used.dependency.as_bytes().as_slice()).collect();
        let vias: Vec<i64> = commit.used.iter().map(|used| via_number(used.via)).collect();
        let most_told = match commit.on_conflict {
            OnConflict::StoreStale => 0,
            OnConflict::Report => i64::try_from(OnConflict::MAX_REPORTED).unwrap_or(i64::MAX),
        };
        let bind = |query: super::Statement| {
            query
                .bind(bytes(&commit.id))
                .bind(commit.token.as_bytes().to_vec())
                .bind(number(commit.start_revision))
                .bind(number(commit.version))
                .bind(most_told)
                .bind(commit.incarnation.as_str().to_owned())
                .bind(encode_epochs(&commit.epochs))
                .bind(&commit.call[..])
                .bind(&commit.value[..])
                .bind(&commit.meta[..])
                .bind(encode_edges(&edges))
                .bind(&dependencies)
                .bind(&vias)
                .bind(commit.ttl.map(millis))
                .bind(commit.not_after.map(time))
                .bind(commit.tainted)
                .bind(commit.lazy)
                .bind(millis(commit.conflict_delay))
                .bind(self.writes_jobs())
        };
        let answer = self.step("commit", COMMIT, bind).await?;
        let now = Timestamp::from_millis(answer.number("now")?);
        let conflicts: Option<Vec<Vec<u8>>> = answer.get("conflicts")?;
        let conflicts = conflicts.unwrap_or_default();
        let conflicts = conflicts.iter().map(|dependency| Dependency::from_slice(dependency));
        Ok(match answer.number("outcome")? {
            0 => CommitOutcome::Fresh { now },
            1 => {
                if self.writes_jobs() && !commit.lazy {
                    self.notifier.notify();
                }
                CommitOutcome::Conflicted { now, dependencies: named(conflicts.collect::<Result<Vec<_>>>()?) }
            }
            4 => CommitOutcome::ConflictReported {
                now,
                revision: answer.number("revision")?,
                dependencies: conflicts.collect::<Result<Vec<_>>>()?,
            },
            2 => CommitOutcome::Lost,
            3 => CommitOutcome::OtherIncarnation,
            _ => return Err(unexpected("commit")),
        })
    }

    pub(super) async fn abort_run(&self, abort: &Abort) -> Result<bool> {
        let bind = |query: super::Statement| {
            query
                .bind(bytes(&abort.id))
                .bind(abort.token.as_bytes().to_vec())
                .bind(abort.failure.as_deref().map(|failure| clip(failure, KEPT_ERROR)))
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

    pub(super) async fn record_waits_of_runs(&self, wait: &RecordWaits) -> Result<Vec<(EntryId, EntryId)>> {
        let ids: Vec<EntryId> = wait.runs.iter().map(|run| run.id).collect();
        let children: Vec<EntryId> = wait.runs.iter().map(|run| run.child).collect();
        let tokens: Vec<Vec<u8>> = wait.runs.iter().map(|run| run.token.as_bytes().to_vec()).collect();
        let bind = |query: super::Statement| {
            let query = query.bind(id_list(&ids)).bind(&tokens).bind(id_list(&children));
            query.bind(millis(wait.lease)).bind(MOST)
        };
        let answer = self.step("wait", WAIT, bind).await?;
        let ids: Option<Vec<Vec<u8>>> = answer.get("ids")?;
        let children: Option<Vec<Vec<u8>>> = answer.get("children")?;
        let id = |bytes: &Vec<u8>| EntryId::from_slice(bytes);
        let pairs = ids.iter().flatten().zip(children.iter().flatten());
        let all = pairs.map(|(run, child)| Ok((id(run)?, id(child)?))).collect::<Result<Vec<_>>>()?;
        Ok(leading_on(wait.child, &all))
    }

    pub(super) async fn remove_entry(&self, id: &EntryId, token: Option<Token>) -> Result<bool> {
        let bind = |query: super::Statement| {
            let token = token.map(|token| token.as_bytes().to_vec());
            query.bind(bytes(id)).bind(token).bind(self.writes_jobs())
        };
        self.step("remove", REMOVE, bind).await?.get("removed")
    }
}

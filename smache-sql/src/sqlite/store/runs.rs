//! Runs: begin, commit, abort, extend, remove.

use std::{collections::HashSet, time::Duration};

use smache_core::{
    Abort, Begin, BeginOutcome, Begun, Commit, CommitOutcome, Dependency, EntryId, OnConflict, RecordWaits, Result,
    Timestamp, Token, Via,
};

use super::{READ_RECORD, SqliteStore, Step};
use crate::{
    cells::{Cells, KEPT_ERROR, clip, count, millis, number, time, timestamp},
    error::unexpected,
    record::{decode_causes, edges, encode_edges, encode_epochs, named},
    sqlite::{
        jobs::{USUAL_PRIORITY, list, pairs},
        link::Statement,
    },
    waits::{MOST, leading_on},
};

const RUN: &str = "SELECT token, start_revision, until FROM smache_runs WHERE ns = $1 AND id = $2";
const PUT_RUN: &str =
    "INSERT OR REPLACE INTO smache_runs (ns, id, token, start_revision, until) VALUES ($1, $2, $3, $4, $5)";
const END_COMMIT: &str = "DELETE FROM smache_runs WHERE ns = $1 AND id = $2 AND token = $3 AND start_revision = $4";
const END_RUN: &str = "DELETE FROM smache_runs WHERE ns = $1 AND id = $2 AND ($3 IS NULL OR token = $3)";
const FORGET_WAITS: &str = "DELETE FROM smache_waits WHERE ns = $1 AND until <= $2";
const END_WAIT: &str = "DELETE FROM smache_waits WHERE ns = $1 AND id = $2 AND token = $3 AND child = $4";
const NOTE_WAIT: &str = "INSERT INTO smache_waits (ns, id, token, child, awaited, until) \
     SELECT r.ns, r.id, r.token, c.id, c.token, $5 FROM smache_runs r JOIN smache_runs c ON c.ns = r.ns AND c.id = $4 \
     WHERE r.ns = $1 AND r.id = $2 AND r.token = $3";
const BOUND_WAITS: &str = "DELETE FROM smache_waits WHERE ns = $1 AND id = $2 AND number NOT IN \
     (SELECT number FROM smache_waits WHERE ns = $1 AND id = $2 ORDER BY number DESC LIMIT $3)";
const WAITS: &str = "SELECT w.id, w.child FROM smache_waits w \
     JOIN smache_runs r ON r.ns = w.ns AND r.id = w.id AND r.token = w.token \
     JOIN smache_runs c ON c.ns = w.ns AND c.id = w.child AND c.token = w.awaited \
     WHERE w.ns = $1 ORDER BY w.number";
const EXTEND: &str = "UPDATE smache_runs SET until = $4 WHERE ns = $1 AND id = $2 AND token = $3";
const CONFLICTS: &str = "SELECT dep FROM smache_changed WHERE ns = $1 AND revision > $3 \
     AND dep IN (SELECT unhex(value) FROM json_each($2))";
const OLD: &str = "SELECT used, staleness, since, conflicts, causes FROM smache_entries WHERE ns = $1 AND id = $2";
const STORE: &str = include_str!("../../../queries/sqlite/store.sql");
const ADD_EDGES: &str = "INSERT INTO smache_edges (ns, dep, id, direct) \
     SELECT $1, unhex(value ->> 0), $2, value ->> 1 FROM json_each($3) WHERE true \
     ON CONFLICT (ns, dep, id) DO UPDATE SET direct = excluded.direct";
const FAILED: &str = "UPDATE smache_entries SET failures = min(failures, 4294967294) + 1, failure = $3, failed_at = $4 \
     WHERE ns = $1 AND id = $2";

/// An id as an argument.
fn bytes(id: &EntryId) -> Vec<u8> {
    id.as_bytes().to_vec()
}

impl SqliteStore {
    pub(super) async fn begin_run(&self, begin: &Begin) -> Result<BeginOutcome> {
        let now = self.link.now();
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, now).await?;
        let (ns, mut start_revision) = (step.ns, step.revision);
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

    pub(super) async fn commit_run(&self, commit: &Commit) -> Result<CommitOutcome> {
        let time = self.link.now();
        let now = timestamp(time);
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, time).await?;
        let head = step.head().await?;
        if commit.incarnation != head.incarnation {
            return Ok(CommitOutcome::OtherIncarnation);
        }
        let ns = step.ns;
        let bind = |query: Statement| {
            let query = query.bind(ns).bind(bytes(&commit.id)).bind(commit.token.as_bytes().to_vec());
            query.bind(number(commit.start_revision))
        };
        if step.execute(END_COMMIT, bind).await? == 0 {
            return Ok(CommitOutcome::Lost);
        }
        let conflicts = step.conflicts(commit).await?;
        let changed = commit.used.iter().filter(|used| conflicts.contains(&used.dependency));
        let otherwise_right = !commit.tainted && head.validity.has_epochs(&commit.epochs);
        if commit.on_conflict == OnConflict::Report
            && otherwise_right
            && number(commit.version) >= step.low_watermark
            && (1..=OnConflict::MAX_REPORTED).contains(&conflicts.len())
        {
            // What the step has done so far is undone with it.
            let revision = count(step.revision);
            return Ok(CommitOutcome::ConflictReported {
                now,
                revision,
                dependencies: conflicts.into_iter().collect(),
            });
        }
        let must_run = !otherwise_right || changed.clone().any(|used| used.via != Via::Child);
        let staleness = if must_run { 2 } else { i64::from(!conflicts.is_empty()) };
        step.put(commit, staleness, now).await?;
        if self.writes_jobs() {
            let id = commit.id;
            if staleness == 0 {
                step.take_back(&[id]).await?;
            } else if !commit.lazy {
                let due = time + millis(commit.conflict_delay);
                step.need(&[(id, staleness - 1)], USUAL_PRIORITY, due).await?;
            }
        }
        let dependencies = named(changed.map(|used| used.dependency));
        step.commit().await?;
        Ok(if staleness == 0 { CommitOutcome::Fresh { now } } else { CommitOutcome::Conflicted { now, dependencies } })
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
            let failure = clip(failure, KEPT_ERROR);
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
        let (ns, until) = (step.ns, now + millis(lease));
        let mut held = Vec::with_capacity(runs.len());
        for (id, token) in runs {
            let bind = |query: Statement| query.bind(ns).bind(bytes(id)).bind(token.as_bytes().to_vec()).bind(until);
            held.push(step.execute(EXTEND, bind).await? > 0);
        }
        step.commit().await?;
        Ok(held)
    }

    pub(super) async fn record_waits_of_runs(&self, wait: &RecordWaits) -> Result<Vec<(EntryId, EntryId)>> {
        let now = self.link.now();
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, now).await?;
        let (ns, until) = (step.ns, now + millis(wait.lease));
        step.execute(FORGET_WAITS, |query| query.bind(ns).bind(now)).await?;
        for run in &wait.runs {
            let of = |query: Statement| {
                let query = query.bind(ns).bind(bytes(&run.id)).bind(run.token.as_bytes().to_vec());
                query.bind(bytes(&run.child))
            };
            step.execute(END_WAIT, of).await?;
            if until > now {
                step.execute(NOTE_WAIT, |query| of(query).bind(until)).await?;
                step.execute(BOUND_WAITS, |query| query.bind(ns).bind(bytes(&run.id)).bind(MOST)).await?;
            }
        }
        let mut all = Vec::new();
        for row in step.rows(WAITS, |query| query.bind(ns)).await? {
            let cell = |place| row.bytes(place).map(Option::unwrap_or_default).map_err(|error| step.failed(error));
            all.push((EntryId::from_slice(&cell(0)?)?, EntryId::from_slice(&cell(1)?)?));
        }
        step.commit().await?;
        Ok(leading_on(wait.child, &all))
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
    /// Ends the run of an entry; with a token only that one. Says whether there was one.
    async fn end_run(&mut self, id: &EntryId, token: Option<Token>) -> Result<bool> {
        let (ns, id, token) = (self.ns, bytes(id), token.map(|token| token.as_bytes().to_vec()));
        self.execute(END_RUN, |query| query.bind(ns).bind(id).bind(token)).await.map(|ended| ended > 0)
    }

    /// The used dependencies that were invalidated since the run started, or may have been.
    async fn conflicts(&mut self, commit: &Commit) -> Result<HashSet<Dependency>> {
        let all = commit.used.iter().map(|used| used.dependency);
        if number(commit.version) < self.low_watermark {
            return Ok(all.collect());
        }
        let (ns, version) = (self.ns, number(commit.version));
        let all = list(commit.used.iter().map(|used| used.dependency.as_bytes().as_slice()));
        let rows = self.rows(CONFLICTS, |query| query.bind(ns).bind(all).bind(version)).await?;
        let one = |row: &_| {
            let dependency = Cells::bytes(row, 0).map_err(|error| self.failed(error))?.unwrap_or_default();
            Dependency::from_slice(&dependency)
        };
        rows.iter().map(one).collect()
    }

    /// Puts a record in the place of the one before, with its edges.
    async fn put(&mut self, commit: &Commit, staleness: i64, now: Timestamp) -> Result<()> {
        let ns = self.ns;
        let old = self.row(OLD, |query| query.bind(ns).bind(bytes(&commit.id))).await?;
        let edges = edges(&commit.used);
        let used = encode_edges(&edges);
        let stale = staleness > 0;
        let (mut since, mut conflicts, mut causes) = (stale.then_some(time(now)), i64::from(stale), "[]".to_owned());
        let mut old_used = None;
        if let Some(old) = &old {
            let cell = |place| old.int(place).map_err(|error| self.failed(error));
            if stale {
                let kept = if cell(1)?.unwrap_or(0) > 0 { cell(2)? } else { None };
                since = kept.or(since);
                conflicts = cell(3)?.unwrap_or(0).saturating_add(1);
                // Those of a damaged record would damage this one.
                causes = old.text(4).ok().flatten().filter(|causes| decode_causes(causes).is_ok()).unwrap_or(causes);
            }
            old_used = old.bytes(0).map_err(|error| self.failed(error))?;
        }
        let ttl_until = commit.ttl.map(|ttl| now.after(ttl));
        let expires = ttl_until.into_iter().chain(commit.not_after).min().map(time);
        let (encoded, stored_at) = (used.clone(), time(now));
        let bind = |query: Statement| {
            query
                .bind(ns)
                .bind(bytes(&commit.id))
                .bind(number(commit.version))
                .bind(staleness)
                .bind(since)
                .bind(stored_at)
                .bind(expires)
                .bind(conflicts)
                .bind(i64::from(commit.lazy))
                .bind(encode_epochs(&commit.epochs))
                .bind(causes)
                .bind(commit.call.to_vec())
                .bind(encoded)
                .bind(commit.meta.to_vec())
                .bind(commit.value.to_vec())
        };
        self.execute(STORE, bind).await?;
        if old_used.as_ref() == Some(&used) {
            return Ok(());
        }
        if let Some(old_used) = &old_used {
            let kept: HashSet<&[u8]> = edges.iter().map(|(dependency, _)| dependency.as_bytes().as_slice()).collect();
            let gone: Vec<&[u8]> =
                old_used.chunks_exact(17).map(|used| &used[..16]).filter(|old| !kept.contains(old)).collect();
            self.drop_edges(&commit.id, gone).await?;
        }
        let edges = pairs(edges.iter().map(|(to, direct)| (to.as_bytes().as_slice(), i64::from(*direct))));
        self.execute(ADD_EDGES, |query| query.bind(ns).bind(bytes(&commit.id)).bind(edges)).await.map(drop)
    }
}

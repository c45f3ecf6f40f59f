//! Runs: begin, commit, abort, extend, who waits for whom, and the removal of an entry.

use std::{collections::BTreeSet, time::Duration};

use redis::Value;
use smache_core::{
    Abort, Begin, BeginOutcome, Begun, ChangedSince, Commit, CommitOutcome, Dependency, EntryId, Epoch, OnConflict,
    RecordWaits, Result, Staleness, Timestamp, Token,
};

use super::{
    RedisStore,
    record::{as_absent, decode_used, encode_used, read_entry},
    validity::encode_epochs,
};
use crate::{
    error::unexpected,
    reply::{Reply, clip, number},
    script::{ABORT, BEGIN, CHANGED_SINCE, COMMIT, EXTEND_RUNS, MAX_MILLIS, REMOVE, WAIT, millis},
};

impl RedisStore {
    pub(super) async fn begin_run(&self, begin: &Begin) -> Result<BeginOutcome> {
        let mut call = self.step(&BEGIN);
        call.arg(begin.id.as_bytes()).arg(begin.token.as_bytes()).millis(begin.lease).arg(Epoch::random().as_bytes());
        // The connection is taken once, so that the incarnation is the one that the script ran on.
        let live = self.link.live().await?;
        let answer =
            live.call(&call).await.map_err(|error| error.with_context("key", self.keys.record_name(&begin.id)))?;
        let mut reply = Reply::new(call.operation(), answer)?;
        if reply.number()? == 0 {
            return Ok(BeginOutcome::Busy { remaining: Duration::from_millis(reply.number()?) });
        }
        let start_revision = reply.number()?;
        let now = reply.time()?;
        let validity = self.validity.read(reply.value()?, self.keys.validity())?;
        let mut entry = read_entry(reply.list()?.collect(), &self.keys, &begin.id);
        let call = reply.maybe_bytes()?.map(Into::into);
        let conflicts = u32::try_from(reply.number()?).unwrap_or(u32::MAX);
        let pending = reply.number()? == 1;
        let used = reply.maybe_bytes()?.as_deref().and_then(decode_used);
        if used.is_none()
            && let Some(entry) = &mut entry
        {
            // Nobody may find that it is still right, and store it again with less than it depends on.
            as_absent(&self.keys, &begin.id, "u");
            entry.staleness = Staleness::Stale;
            entry.since.get_or_insert(now);
        }
        let used = used.unwrap_or_default();
        let incarnation = live.incarnation.clone();
        Ok(BeginOutcome::Begun(Box::new(Begun {
            start_revision,
            now,
            incarnation,
            validity,
            entry,
            call,
            used,
            conflicts,
            pending,
        })))
    }

    pub(super) async fn commit_run(&self, commit: &Commit) -> Result<CommitOutcome> {
        let live = self.link.live().await?;
        if live.incarnation != commit.incarnation {
            return Ok(CommitOutcome::OtherIncarnation);
        }
        let (used, guards) = encode_used(&commit.used);
        let mut call = self.step(&COMMIT);
        call.arg(commit.id.as_bytes()).arg(commit.token.as_bytes()).arg(commit.start_revision);
        call.arg(encode_epochs(&commit.epochs)).arg(commit.call.as_ref()).arg(commit.value.as_ref());
        call.arg(commit.meta.as_ref()).arg(used).arg(guards);
        match commit.ttl {
            Some(ttl) => call.millis(ttl),
            None => call.arg(""),
        };
        match commit.not_after {
            Some(at) => call.arg(at.as_millis().min(MAX_MILLIS)),
            None => call.arg(""),
        };
        call.flag(commit.tainted).flag(commit.lazy).millis(commit.conflict_delay);
        call.arg(commit.version).arg(match commit.on_conflict {
            OnConflict::StoreStale => 0,
            OnConflict::Report => OnConflict::MAX_REPORTED,
        });
        let answer =
            live.call(&call).await.map_err(|error| error.with_context("key", self.keys.record_name(&commit.id)))?;
        let mut reply = Reply::new(call.operation(), answer)?;
        match reply.number()? {
            0 => Ok(CommitOutcome::Lost),
            1 => Ok(CommitOutcome::Fresh { now: reply.time()? }),
            outcome => {
                let now: Timestamp = reply.time()?;
                let revision = if outcome == 3 { Some(reply.number()?) } else { None };
                let mut dependencies = Vec::new();
                while !reply.is_empty() {
                    dependencies.push(Dependency::from_slice(&reply.bytes()?)?);
                }
                Ok(match revision {
                    Some(revision) => CommitOutcome::ConflictReported { now, revision, dependencies },
                    None => CommitOutcome::Conflicted { now, dependencies },
                })
            }
        }
    }

    pub(super) async fn changes_since(&self, revision: u64, of: &[Dependency]) -> Result<ChangedSince> {
        let live = self.link.live().await?;
        let (mut earliest, mut dependencies) = (None, BTreeSet::new());
        for piece in pieces(of) {
            let mut call = CHANGED_SINCE.call(&self.keys);
            call.arg(revision);
            for dependency in piece {
                call.arg(dependency.as_bytes());
            }
            let mut reply = Reply::new(call.operation(), live.call(&call).await?)?;
            // What the first piece does not name changes after its revision; what a later one does not, after a later revision.
            let answered = reply.number()?;
            earliest.get_or_insert(answered);
            while !reply.is_empty() {
                dependencies.insert(Dependency::from_slice(&reply.bytes()?)?);
            }
        }
        let incarnation = live.incarnation.clone();
        let revision = earliest.unwrap_or(revision);
        Ok(ChangedSince { incarnation, revision, dependencies: dependencies.into_iter().collect() })
    }

    pub(super) async fn abort_run(&self, abort: &Abort) -> Result<bool> {
        let mut call = self.step(&ABORT);
        call.arg(abort.id.as_bytes()).arg(abort.token.as_bytes());
        call.flag(abort.failure.is_some()).arg(clip(abort.failure.as_deref().unwrap_or_default(), 2_000));
        call.millis(abort.delay);
        said_yes(&self.call_on(&abort.id, &call).await?, call.operation())
    }

    pub(super) async fn extend_runs(&self, runs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
        let mut held = Vec::with_capacity(runs.len());
        for runs in runs.chunks(500) {
            let mut call = EXTEND_RUNS.call(&self.keys);
            call.arg(millis(lease));
            for (id, token) in runs {
                call.arg(id.as_bytes()).arg(token.as_bytes());
            }
            let mut reply = Reply::new(call.operation(), self.link.call(&call).await?)?;
            for _ in runs {
                held.push(reply.number()? == 1);
            }
        }
        Ok(held)
    }

    pub(super) async fn record_waits_of_runs(&self, wait: &RecordWaits) -> Result<Vec<(EntryId, EntryId)>> {
        let mut call = WAIT.call(&self.keys);
        call.arg(wait.child.as_bytes()).millis(wait.lease);
        for waiting in &wait.runs {
            call.arg(waiting.id.as_bytes()).arg(waiting.token.as_bytes()).arg(waiting.child.as_bytes());
        }
        let mut reply = Reply::new(call.operation(), self.link.call(&call).await?)?;
        let mut waits = Vec::new();
        while !reply.is_empty() {
            let waiting = EntryId::from_slice(&reply.bytes()?)?;
            waits.push((waiting, EntryId::from_slice(&reply.bytes()?)?));
        }
        Ok(waits)
    }

    pub(super) async fn remove_entry(&self, id: &EntryId, token: Option<Token>) -> Result<bool> {
        let mut call = self.step(&REMOVE);
        call.arg(id.as_bytes()).arg(token.as_ref().map_or(&[][..], |token| token.as_bytes().as_slice()));
        said_yes(&self.call_on(id, &call).await?, call.operation())
    }
}

/// Of a length that blocks the server for no long time; at least one, which brings the revision.
fn pieces(dependencies: &[Dependency]) -> impl Iterator<Item = &[Dependency]> {
    let none = dependencies.is_empty().then_some(dependencies);
    dependencies.chunks(5_000).chain(none)
}

fn said_yes(value: &Value, operation: &'static str) -> Result<bool> {
    number(value).map(|answer| answer == 1).ok_or_else(|| unexpected(operation))
}

//! The commit of a run, and its comparison with changes.

use std::collections::BTreeSet;

use smache_core::{ChangedSince, Commit, CommitOutcome, Dependency, Result, Timestamp};

use super::{RedisStore, record::encode_used};
use crate::{
    reply::Reply,
    script::{CHANGED_SINCE, COMMIT, MAX_MILLIS},
};

impl RedisStore {
    pub(super) async fn commit_run(&self, commit: &Commit) -> Result<CommitOutcome> {
        let live = self.link.live().await?;
        if live.incarnation != commit.incarnation {
            return Ok(CommitOutcome::OtherIncarnation);
        }
        let (used, guards) = encode_used(&commit.used);
        let mut call = self.step(&COMMIT);
        call.arg(commit.id.as_bytes()).arg(commit.token.as_bytes()).arg(commit.start_revision);
        call.arg(commit.epochs.encode()).arg(commit.call.as_ref()).arg(commit.value.as_ref());
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
        call.arg(commit.version).arg(commit.most_reported());
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
        let mut earliest = None;
        let mut dependencies = BTreeSet::new();
        for piece in pieces(of) {
            let mut call = CHANGED_SINCE.call(&self.keys);
            call.arg(revision);
            for dependency in piece {
                call.arg(dependency.as_bytes());
            }
            let mut reply = Reply::new(call.operation(), live.call(&call).await?)?;
            // Dependencies that the first piece does not report change after its revision; those of later pieces after
            // a later one.
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
}

/// Pieces short enough not to block the server for long; at least one, which brings the revision.
fn pieces(dependencies: &[Dependency]) -> impl Iterator<Item = &[Dependency]> {
    let none = dependencies.is_empty().then_some(dependencies);
    dependencies.chunks(5_000).chain(none)
}

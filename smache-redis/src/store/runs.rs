//! Runs: begin, abort, extend, and the removal of an entry.

use std::time::Duration;

use redis::Value;
use smache_core::{
    Abort, Begin, BeginOutcome, Begun, EntryId, Epoch, Result, Staleness, Token, UsedDependency,
    support::{clip, limits::ERROR_BYTES},
};

use super::{
    RedisStore,
    record::{as_absent, read_entry},
};
use crate::{
    error::unexpected,
    reply::{Reply, number},
    script::{ABORT, BEGIN, EXTEND_RUNS, REMOVE, millis},
};

impl RedisStore {
    pub(super) async fn begin_run(&self, begin: &Begin) -> Result<BeginOutcome> {
        let mut call = self.step(&BEGIN);
        call.arg(begin.id.as_bytes()).arg(begin.token.as_bytes()).millis(begin.lease).arg(Epoch::random().as_bytes());
        // One connection for both, so that the incarnation is the one that the script ran on.
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
        let used = reply.maybe_bytes()?.as_deref().and_then(UsedDependency::decode_edges);
        if used.is_none()
            && let Some(entry) = &mut entry
        {
            // No re-validation may call it unchanged, and store it again with fewer dependencies.
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

    pub(super) async fn abort_run(&self, abort: &Abort) -> Result<bool> {
        let mut call = self.step(&ABORT);
        call.arg(abort.id.as_bytes()).arg(abort.token.as_bytes());
        call.flag(abort.failure.is_some()).arg(clip(abort.failure.as_deref().unwrap_or_default(), ERROR_BYTES));
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

    pub(super) async fn remove_entry(&self, id: &EntryId, token: Option<Token>) -> Result<bool> {
        let mut call = self.step(&REMOVE);
        call.arg(id.as_bytes()).arg(token.as_ref().map_or(&[][..], |token| token.as_bytes().as_slice()));
        said_yes(&self.call_on(id, &call).await?, call.operation())
    }
}

fn said_yes(value: &Value, operation: &'static str) -> Result<bool> {
    number(value).map(|answer| answer == 1).ok_or_else(|| unexpected(operation))
}

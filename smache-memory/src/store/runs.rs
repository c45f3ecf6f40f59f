//! Runs: begin, abort, extend, and the removal of an entry.

use std::sync::Arc;

use smache_core::{
    Abort, Begin, BeginOutcome, Begun, EntryId, Incarnation, RunFailure, Timestamp, Token,
    support::{clip, limits::ERROR_BYTES},
};

use super::{Cache, sink::JobSink, state::Run};

impl Cache {
    pub(crate) fn begin(&mut self, begin: &Begin, incarnation: &Incarnation, now: Timestamp) -> BeginOutcome {
        let mut start_revision = self.revision;
        if let Some(run) = self.runs.get(&begin.id) {
            if run.token == begin.token {
                start_revision = run.start_revision;
            } else if run.until > now {
                return BeginOutcome::Busy { remaining: run.until.since(now) };
            }
        }
        let until = now.after(begin.lease);
        self.runs.insert(begin.id, Run { token: begin.token, start_revision, until, waits: Vec::new() });
        let entry = self.read(&begin.id);
        let record = self.records.get(&begin.id).map(|slot| &slot.record);
        BeginOutcome::Begun(Box::new(Begun {
            start_revision,
            now,
            incarnation: incarnation.clone(),
            validity: Arc::clone(&self.validity),
            entry,
            call: record.map(|record| record.call.clone()),
            used: record.map(|record| record.used.clone()).unwrap_or_default(),
            conflicts: record.map_or(0, |record| record.conflicts),
            // An invalidation is one step here.
            pending: false,
        }))
    }

    pub(crate) fn abort(&mut self, abort: Abort, now: Timestamp, sink: &mut JobSink<'_>) -> bool {
        if !self.holds(&abort.id, abort.token) {
            return false;
        }
        self.runs.remove(&abort.id);
        if let (Some(slot), Some(message)) = (self.records.get_mut(&abort.id), abort.failure) {
            slot.record.failures = slot.record.failures.saturating_add(1);
            slot.record.last_failure = Some(RunFailure { message: clip(&message, ERROR_BYTES).to_owned(), at: now });
        }
        if let Some(lane) = self.records.get(&abort.id).and_then(|slot| self.lane_of_need(&slot.record)) {
            sink.need_after_run(abort.id, lane, abort.delay);
        }
        true
    }

    /// Whether a token holds the run of an entry. A lapsed lease that no other run has taken counts.
    pub(super) fn holds(&self, id: &EntryId, token: Token) -> bool {
        self.runs.get(id).is_some_and(|run| run.token == token)
    }

    pub(crate) fn extend(&mut self, id: &EntryId, token: Token, until: Timestamp) -> bool {
        match self.runs.get_mut(id) {
            Some(run) if run.token == token => {
                run.until = until;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn remove(&mut self, id: &EntryId, token: Option<Token>, sink: &mut JobSink<'_>) -> bool {
        if token.is_some_and(|token| !self.holds(id, token)) {
            return false;
        }
        let run = self.runs.remove(id).is_some();
        let record = self.forget(id, sink);
        if !record {
            sink.take_back(id);
        }
        run || record
    }
}

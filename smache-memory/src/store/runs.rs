//! Runs: begin, abort, extend, and the removal of an entry.

use std::{sync::Arc, time::Duration};

use smache_core::{
    Abort, Begin, BeginOutcome, Begun, EntryId, Incarnation, Timestamp, Token,
    protocol::{self, Beginning, Ended},
};

use super::{Cache, sink::JobSink};

impl Cache {
    pub(crate) fn begin(&mut self, begin: &Begin, incarnation: &Incarnation, now: Timestamp) -> BeginOutcome {
        let run = match protocol::begin(self.runs.get(&begin.id), self.revision, now, begin) {
            Beginning::Busy(remaining) => return BeginOutcome::Busy { remaining },
            Beginning::Begun(run) => run,
        };
        let start_revision = run.start_revision;
        self.runs.insert(begin.id, run);
        let entry = self.read(&begin.id);
        let stored = self.records.get(&begin.id).map(|slot| &slot.entry);
        BeginOutcome::Begun(Box::new(Begun {
            start_revision,
            now,
            incarnation: incarnation.clone(),
            validity: Arc::clone(&self.validity),
            entry,
            call: stored.map(|stored| stored.call.clone()),
            used: stored.map(|stored| stored.used.clone()).unwrap_or_default(),
            conflicts: stored.map_or(0, |stored| stored.head.conflicts),
            // An invalidation is one step here.
            pending: false,
        }))
    }

    pub(crate) fn abort(&mut self, abort: &Abort, now: Timestamp, sink: &mut JobSink<'_>) -> bool {
        let id = &abort.id;
        let head = self.records.get(id).map(|slot| &slot.entry.head);
        let ended = Ended { now, run: self.runs.get(id), head, validity: &self.validity };
        let Some(aborting) = protocol::abort(&ended, abort) else { return false };
        self.runs.remove(id);
        if let (Some(slot), Some(head)) = (self.records.get_mut(id), aborting.head) {
            slot.entry.head = head;
        }
        sink.write(*id, aborting.job);
        true
    }

    pub(crate) fn extend(&mut self, id: &EntryId, token: Token, now: Timestamp, lease: Duration) -> bool {
        let until = protocol::extend(self.runs.get(id), token, now, lease);
        if let (Some(run), Some(until)) = (self.runs.get_mut(id), until) {
            run.until = until;
        }
        until.is_some()
    }

    pub(crate) fn remove(&mut self, id: &EntryId, token: Option<Token>, sink: &mut JobSink<'_>) -> bool {
        if !protocol::may_remove(self.runs.get(id), token) {
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

//! Waits of runs for each other.

use smache_core::{
    EntryId, RecordWaits, Timestamp, Token, WaitingRun,
    support::{WaitWalk, limits::WAITS},
};

use super::state::Cache;

/// A wait of a run for another one.
pub(crate) struct Note {
    child: EntryId,
    /// Of the awaited run: the note does not hold for a later run of the child.
    token: Token,
    until: Timestamp,
}

impl Cache {
    pub(crate) fn record_waits(&mut self, wait: &RecordWaits, now: Timestamp) -> Vec<(EntryId, EntryId)> {
        let until = now.after(wait.lease);
        wait.runs.iter().for_each(|waiting| self.note(waiting, until, now));
        self.waits_from(wait.child, now)
    }

    fn note(&mut self, waiting: &WaitingRun, until: Timestamp, now: Timestamp) {
        let awaited = self.runs.get(&waiting.child).map(|run| run.token);
        let Some(run) = self.runs.get_mut(&waiting.id).filter(|run| run.token == waiting.token) else { return };
        run.waits.retain(|note| note.child != waiting.child && note.until > now);
        if let Some(token) = awaited.filter(|_| until > now) {
            run.waits.push(Note { child: waiting.child, token, until });
            let surplus = run.waits.len().saturating_sub(WAITS);
            run.waits.drain(..surplus);
        }
    }

    /// The waits that lead on from a run, the nearest first.
    fn waits_from(&self, from: EntryId, now: Timestamp) -> Vec<(EntryId, EntryId)> {
        let mut walk = WaitWalk::from(from);
        while let Some(id) = walk.next_run() {
            let notes = self.runs.get(&id).into_iter().flat_map(|run| &run.waits);
            let counting = notes.filter(|note| note.until > now && self.holds(&note.child, note.token));
            walk.waits_for(id, counting.map(|note| note.child));
        }
        walk.into_waits()
    }
}

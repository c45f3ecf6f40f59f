//! Waits of runs for each other.

use smache_core::{EntryId, RecordWaits, Timestamp, WaitingRun, protocol, support::WaitWalk};

use super::state::Cache;

impl Cache {
    pub(crate) fn record_waits(&mut self, wait: &RecordWaits, now: Timestamp) -> Vec<(EntryId, EntryId)> {
        let until = now.after(wait.lease);
        wait.runs.iter().for_each(|waiting| self.note(waiting, until, now));
        self.waits_from(wait.child, now)
    }

    fn note(&mut self, waiting: &WaitingRun, until: Timestamp, now: Timestamp) {
        let awaited = self.runs.get(&waiting.child).map(|run| run.token);
        if let Some(run) = self.runs.get_mut(&waiting.id).filter(|run| run.token == waiting.token) {
            protocol::note_wait(run, waiting.child, awaited, until, now);
        }
    }

    /// The waits that lead on from a run, the nearest first.
    fn waits_from(&self, from: EntryId, now: Timestamp) -> Vec<(EntryId, EntryId)> {
        let mut walk = WaitWalk::from(from);
        while let Some(id) = walk.next_run() {
            let notes = self.runs.get(&id).into_iter().flat_map(|run| &run.waits);
            let counting = notes.filter(|wait| protocol::counts(wait, self.runs.get(&wait.child), now));
            walk.waits_for(id, counting.map(|wait| wait.child));
        }
        walk.into_waits()
    }
}

//! Waits of runs for each other.

use std::collections::{HashSet, VecDeque};

use smache_core::{EntryId, RecordWaits, Timestamp, Token, WaitingRun};

use super::state::Cache;

/// The most notes of a run, and the most runs whose notes are answered.
const MOST: usize = 64;

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
            let surplus = run.waits.len().saturating_sub(MOST);
            run.waits.drain(..surplus);
        }
    }

    /// The waits that lead on from a run, the nearest first.
    fn waits_from(&self, from: EntryId, now: Timestamp) -> Vec<(EntryId, EntryId)> {
        let (mut waits, mut runs) = (Vec::new(), 0);
        let (mut seen, mut line) = (HashSet::from([from]), VecDeque::from([from]));
        while let Some(id) = line.pop_front().filter(|_| runs < MOST) {
            let before = waits.len();
            for note in self.runs.get(&id).into_iter().flat_map(|run| &run.waits) {
                if note.until > now && self.holds(&note.child, note.token) {
                    waits.push((id, note.child));
                    if seen.insert(note.child) {
                        line.push_back(note.child);
                    }
                }
            }
            runs += usize::from(waits.len() > before);
        }
        waits
    }
}

//! The waits that lead on from a run.

use std::collections::{HashSet, VecDeque};

use super::limits::WAITS;
use crate::EntryId;

/// The walk of [`EntryStore::record_waits`](crate::EntryStore::record_waits) from a child's run along the notes of
/// waiting runs, the nearest first. It ends behind [`WAITS`] runs that wait.
///
/// ```
/// # use smache_core::{EntryId, support::WaitWalk};
/// # let notes = |_: EntryId| Vec::<EntryId>::new();
/// # let child = EntryId::from_bytes([0; EntryId::LEN]);
/// let mut walk = WaitWalk::from(child);
/// while let Some(run) = walk.next_run() {
///     walk.waits_for(run, notes(run));
/// }
/// let answer: Vec<(EntryId, EntryId)> = walk.into_waits();
/// ```
#[derive(Debug)]
pub struct WaitWalk {
    waits: Vec<(EntryId, EntryId)>,
    waiting: usize,
    seen: HashSet<EntryId>,
    line: VecDeque<EntryId>,
}

impl WaitWalk {
    /// Starts at the run of a child.
    #[must_use]
    pub fn from(child: EntryId) -> Self {
        Self { waits: Vec::new(), waiting: 0, seen: HashSet::from([child]), line: VecDeque::from([child]) }
    }

    /// The next run to look at.
    pub fn next_run(&mut self) -> Option<EntryId> {
        if self.waiting < WAITS { self.line.pop_front() } else { None }
    }

    /// Takes the entries for whose present runs a run waits, by notes that count.
    pub fn waits_for(&mut self, run: EntryId, children: impl IntoIterator<Item = EntryId>) {
        let before = self.waits.len();
        for child in children {
            self.waits.push((run, child));
            if self.seen.insert(child) {
                self.line.push_back(child);
            }
        }
        self.waiting += usize::from(self.waits.len() > before);
    }

    /// All waits that the walk has met, as pairs of the waiting entry and the awaited one.
    #[must_use]
    pub fn into_waits(self) -> Vec<(EntryId, EntryId)> {
        self.waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> EntryId {
        EntryId::from_bytes([number; EntryId::LEN])
    }

    fn walk(notes: impl Fn(u8) -> Vec<u8>) -> Vec<(u8, u8)> {
        let mut walk = WaitWalk::from(id(0));
        while let Some(run) = walk.next_run() {
            walk.waits_for(run, notes(run.as_bytes()[0]).into_iter().map(id));
        }
        walk.into_waits().iter().map(|(run, child)| (run.as_bytes()[0], child.as_bytes()[0])).collect()
    }

    #[test]
    fn nearest_waits_come_first_and_cycles_end() {
        let waits = walk(|run| match run {
            0 => vec![1, 2],
            1 => vec![3],
            2 => vec![0],
            _ => vec![],
        });
        assert_eq!(waits, [(0, 1), (0, 2), (1, 3), (2, 0)]);
    }

    #[test]
    fn the_walk_is_bounded() {
        let line = walk(|run| vec![run.saturating_add(1)]);
        assert_eq!(line.len(), WAITS);
    }
}

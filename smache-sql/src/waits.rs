//! Runs that wait for each other: the waits that lead on from one of them.

use std::collections::HashMap;

use smache_core::{EntryId, support::WaitWalk};

/// The waits that lead on from a run, the nearest first, out of all that count.
pub(crate) fn leading_on(from: EntryId, all: &[(EntryId, EntryId)]) -> Vec<(EntryId, EntryId)> {
    let mut by_run: HashMap<EntryId, Vec<EntryId>> = HashMap::new();
    for (run, child) in all {
        by_run.entry(*run).or_default().push(*child);
    }
    let mut walk = WaitWalk::from(from);
    while let Some(id) = walk.next_run() {
        walk.waits_for(id, by_run.remove(&id).unwrap_or_default());
    }
    walk.into_waits()
}

//! Runs that wait for each other: the waits that lead on from one of them.

use std::collections::{HashMap, HashSet, VecDeque};

use smache_core::EntryId;

/// The most notes of a run that are kept, and the most runs whose notes an answer has.
pub(crate) const MOST: i64 = 64;

/// The waits that lead on from a run, the nearest first, out of all that count.
pub(crate) fn leading_on(from: EntryId, all: &[(EntryId, EntryId)]) -> Vec<(EntryId, EntryId)> {
    let mut by_run: HashMap<EntryId, Vec<EntryId>> = HashMap::new();
    for (run, child) in all {
        by_run.entry(*run).or_default().push(*child);
    }
    let (mut waits, mut runs) = (Vec::new(), 0);
    let (mut seen, mut line) = (HashSet::from([from]), VecDeque::from([from]));
    while let Some(id) = line.pop_front().filter(|_| runs < MOST) {
        let Some(children) = by_run.get(&id) else { continue };
        runs += 1;
        for child in children {
            waits.push((id, *child));
            if seen.insert(*child) {
                line.push_back(*child);
            }
        }
    }
    waits
}

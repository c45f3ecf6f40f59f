//! **W**: a run notes that it waits for the run of another entry, so that the last of a circle finds it.

use super::parts::{Run, Wait};
use crate::{EntryId, Timestamp, Token, support::limits::WAITS};

/// Notes a wait of a run until some time; one that is over ends the note. `awaited` is the token of the child's present
/// run: without one there is nothing to wait for.
pub fn note_wait(run: &mut Run, child: EntryId, awaited: Option<Token>, until: Timestamp, now: Timestamp) {
    run.waits.retain(|wait| wait.child != child && wait.until > now);
    if let Some(token) = awaited.filter(|_| until > now) {
        run.waits.push(Wait { child, token, until });
        let surplus = run.waits.len().saturating_sub(WAITS);
        run.waits.drain(..surplus);
    }
}

/// Whether a note counts: it is not over, and the child's present run is the awaited one.
#[must_use]
pub fn counts(wait: &Wait, child: Option<&Run>, now: Timestamp) -> bool {
    wait.until > now && child.is_some_and(|run| run.token == wait.token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::testing::{ID, at, run, token};

    #[test]
    fn a_note_counts_for_the_awaited_run_and_until_it_is_over() {
        let mut waiting = run(1);
        note_wait(&mut waiting, ID, None, at(90), at(50));
        assert!(waiting.waits.is_empty(), "there is no run to wait for");
        note_wait(&mut waiting, ID, Some(token(2)), at(90), at(50));
        note_wait(&mut waiting, ID, Some(token(2)), at(95), at(50));
        assert_eq!(waiting.waits, [Wait { child: ID, token: token(2), until: at(95) }], "one note for a child");
        let wait = waiting.waits[0];
        assert!(counts(&wait, Some(&run(2)), at(94)));
        assert!(!counts(&wait, Some(&run(2)), at(95)), "it is over");
        assert!(!counts(&wait, Some(&run(3)), at(94)) && !counts(&wait, None, at(94)));
        note_wait(&mut waiting, ID, Some(token(2)), at(50), at(50));
        assert!(waiting.waits.is_empty(), "ended");
    }

    #[test]
    fn the_newest_notes_are_kept() {
        let mut waiting = run(1);
        for number in 0..=u8::try_from(WAITS).expect("few") {
            note_wait(&mut waiting, EntryId::from_bytes([number; 24]), Some(token(2)), at(90), at(50));
        }
        assert_eq!(waiting.waits.len(), WAITS);
        assert_eq!(waiting.waits[0].child, EntryId::from_bytes([1; 24]));
    }
}

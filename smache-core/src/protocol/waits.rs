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

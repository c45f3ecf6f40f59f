//! The texts that a record and a job keep.

use std::sync::Arc;

use super::limits::{CAUSE_BYTES, CAUSES};

/// The cause of entries that a new epoch made stale.
pub const NEW_EPOCH: &str = "new epoch";

/// The cause of entries that maintenance marked for an author that died, where its mark does not have the cause.
pub const UNFINISHED: &str = "unfinished invalidation";

/// The longest start of a text that fits into some bytes, cut between characters.
#[must_use]
pub fn clip(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// A cause as a record keeps it: at most [`CAUSE_BYTES`].
#[must_use]
pub fn kept_cause(cause: &Arc<str>) -> Arc<str> {
    if cause.len() <= CAUSE_BYTES { Arc::clone(cause) } else { clip(cause, CAUSE_BYTES).into() }
}

/// Adds a cause to those of a record: at most [`CAUSES`], the newest last, none twice in a row.
pub fn note_cause(causes: &mut Vec<Arc<str>>, cause: &Arc<str>) {
    if causes.last() != Some(cause) {
        let surplus = (causes.len() + 1).saturating_sub(CAUSES);
        causes.drain(..surplus);
        causes.push(Arc::clone(cause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(clip("naïve", 3), "na");
        assert_eq!(clip("naïve", 4), "naï");
        assert_eq!(clip("naïve", 100), "naïve");
        let long: Arc<str> = "ä".repeat(CAUSE_BYTES).into();
        assert_eq!(kept_cause(&long).len(), CAUSE_BYTES);
    }

    #[test]
    fn a_record_keeps_the_newest_causes_none_twice_in_a_row() {
        let mut causes = Vec::new();
        for number in [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 8] {
            note_cause(&mut causes, &format!("{number}").into());
        }
        let kept: Vec<&str> = causes.iter().map(|cause| &**cause).collect();
        assert_eq!(kept, ["1", "2", "3", "4", "5", "6", "7", "8"]);
    }
}

//! **B**: a run begins, before any data is read.

use std::time::Duration;

use super::{mutant::off, parts::Run};
use crate::{Begin, Dependency, Timestamp, UsedDependency};

/// The plan of a begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// Another run holds the lease for that long: nothing is written.
    Busy(Duration),
    /// This run takes the place of the one that was there. The answer has its `start_revision`.
    Begun(Run),
}

/// Begins a run at the present `revision`, where `present` is the run of the entry.
///
/// The revision is the first thing that a run learns: whatever changes afterwards has a later one. The same token begins
/// the same run again, at the revision of its first begin, since what it has read may be as old, and with its notes of waits.
#[must_use]
pub fn begin(present: Option<&Run>, revision: u64, now: Timestamp, begin: &Begin) -> Beginning {
    let mut start_revision = off!(StartTooLate, revision, revision + 1);
    let mut waits = Vec::new();
    if let Some(run) = present {
        if run.token == begin.token {
            start_revision = run.start_revision;
            waits.clone_from(&run.waits);
        } else if off!(BusyIgnored, run.holds(now)) {
            return Beginning::Busy(run.until.since(now));
        }
    }
    let until = now.after(begin.lease);
    Beginning::Begun(Run { token: begin.token, start_revision, until, waits })
}

/// Whether an invalidation of a recorded dependency is under way: a run that waits a little may save a conflict.
pub fn is_pending(used: &[UsedDependency], is_marked: impl Fn(&Dependency) -> bool) -> bool {
    used.iter().any(|used| is_marked(&used.dependency))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EntryId, Token, protocol::Wait};

    fn request(token: u8) -> Begin {
        let token = Token::from_bytes([token; 16]);
        Begin { id: EntryId::from_bytes([0; 24]), token, lease: Duration::from_millis(10) }
    }

    #[test]
    fn a_lease_is_exclusive_until_it_lapses_and_a_token_begins_once() {
        let now = Timestamp::from_millis(100);
        let Beginning::Begun(run) = begin(None, 7, now, &request(1)) else { panic!("no other run") };
        assert_eq!((run.start_revision, run.until), (7, Timestamp::from_millis(110)));

        let later = Timestamp::from_millis(109);
        assert_eq!(begin(Some(&run), 9, later, &request(2)), Beginning::Busy(Duration::from_millis(1)));
        let wait = Wait { child: EntryId::from_bytes([9; 24]), token: Token::from_bytes([3; 16]), until: later };
        let waiting = Run { waits: vec![wait], ..run.clone() };
        let Beginning::Begun(again) = begin(Some(&waiting), 9, later, &request(1)) else { panic!("the same run") };
        assert_eq!((again.start_revision, again.until), (7, Timestamp::from_millis(119)));
        assert_eq!(again.waits, [wait], "its notes go on");

        let Beginning::Begun(next) = begin(Some(&run), 9, Timestamp::from_millis(110), &request(2)) else {
            panic!("the lease has lapsed")
        };
        assert_eq!(next.start_revision, 9);
    }
}

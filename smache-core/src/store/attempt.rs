//! The names of attempts at invalidations that take several steps.

use std::sync::atomic::{AtomicU64, Ordering};

use super::FeedStep;
use crate::Token;

/// How many bytes of a name identify the feed; the rest sorts the attempts of that feed.
const FEED: usize = 6;

/// Names one attempt at an invalidation, for the marks that it leaves while it takes several steps.
///
/// No two attempts have one name. So a process that redoes the mark of a dead attempt never withdraws the mark of
/// another one, which is in the middle of its walk. The names of a feed's attempts sort by the fence of the leader and
/// then by time: a leader that comes to the end has walked over everything that the earlier attempts of its feed
/// announced, and withdraws their marks on the same dependencies as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InvalidationAttempt([u8; Self::LEN]);

impl InvalidationAttempt {
    /// How many bytes a name has.
    pub const LEN: usize = 16;

    /// A name for the next attempt: at a step of a feed, or at a change that the application reports.
    #[must_use]
    pub fn next(step: Option<&FeedStep>) -> Self {
        // One leader is one process, which counts its attempts here; another leader has another fence.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let Some(step) = step else {
            let mut name = *Token::random().as_bytes();
            name[0] |= 0x80;
            return Self(name);
        };
        let mut name = [0; Self::LEN];
        let feed = blake3::hash(step.feed.as_str().as_bytes());
        name[..FEED].copy_from_slice(&feed.as_bytes()[..FEED]);
        name[0] &= 0x7f;
        name[FEED..FEED + 4].copy_from_slice(&step.fence.to_be_bytes()[4..]);
        name[FEED + 4..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes()[2..]);
        Self(name)
    }

    /// From the bytes of a name.
    #[must_use]
    pub const fn from_bytes(name: [u8; Self::LEN]) -> Self {
        Self(name)
    }

    /// The bytes of the name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Sorts before the names of all attempts of the same feed and not before those of another one, for stores that
    /// look for them in a range.
    #[must_use]
    pub fn first_of_feed(&self) -> [u8; Self::LEN] {
        let mut first = [0; Self::LEN];
        first[..FEED].copy_from_slice(&self.0[..FEED]);
        first
    }

    /// Whether this attempt, at its end, withdraws the mark of that name: its own, or one of an earlier attempt of the
    /// same feed.
    #[must_use]
    pub fn ends(&self, mark: &[u8]) -> bool {
        let of_a_feed = self.0[0] & 0x80 == 0;
        mark == self.0 || (of_a_feed && mark.len() == Self::LEN && mark[..FEED] == self.0[..FEED] && *mark < self.0[..])
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{FeedId, Incarnation};

    fn step(feed: &str, fence: u64) -> FeedStep {
        FeedStep {
            feed: FeedId::new(feed).expect("a good name"),
            fence,
            leadership: Duration::ZERO,
            incarnation: Incarnation::new("incarnation"),
            positions: Vec::new(),
            valid_for: None,
            deadline: None,
            caught_up: false,
        }
    }

    #[test]
    fn an_attempt_ends_itself_and_earlier_ones_of_its_feed() {
        let earlier = InvalidationAttempt::next(Some(&step("feed", 300)));
        let later = InvalidationAttempt::next(Some(&step("feed", 300)));
        let successor = InvalidationAttempt::next(Some(&step("feed", 301)));
        let other = InvalidationAttempt::next(Some(&step("another", 1)));
        let reported = InvalidationAttempt::next(None);
        for (one, mark, ends) in [
            (later, later, true),
            (later, earlier, true),
            (earlier, later, false),
            (successor, later, true),
            (later, successor, false),
            (successor, other, false),
            (reported, reported, true),
            (reported, earlier, false),
            (successor, reported, false),
        ] {
            assert_eq!(one.ends(mark.as_bytes()), ends, "{one:?} of {mark:?}");
        }
        assert_ne!(InvalidationAttempt::next(None), reported);
        assert!(earlier.first_of_feed() < *earlier.as_bytes() && later.first_of_feed() == successor.first_of_feed());
    }
}

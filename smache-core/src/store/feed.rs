//! What a store keeps of feeds: who leads them and how far they are.

use std::time::Duration;

use bytes::Bytes;

use crate::{FeedId, Incarnation, SourceId};

/// A place in the history of a feed.
///
/// Positions of one feed compare by `order`, byte by byte; `token` is what the source needs to continue there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Sorts like the history.
    pub order: Bytes,
    /// Opaque, at most 16 KiB.
    pub token: Bytes,
}

/// Saved positions, in the order they were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Positions {
    /// `None` where a source has none yet.
    pub positions: Vec<Option<Position>>,
    /// The incarnation they were read on; a [`FeedStep`] on another one is refused.
    pub incarnation: Incarnation,
}

/// Whether this process leads a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leadership {
    /// It does, under a fence that is higher than every earlier leader's.
    Leader {
        /// Goes with every step of the feed.
        fence: u64,
    },
    /// Another one does.
    Follower {
        /// Until its lease ends.
        retry_after: Duration,
    },
}

/// A leader's progress, saved in the same step as the invalidation that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedStep {
    /// Which feed.
    pub feed: FeedId,
    /// The leader's fence; an older one is refused with [`ErrorKind::Fenced`](crate::ErrorKind::Fenced).
    pub fence: u64,
    /// For how long the leadership is renewed.
    pub leadership: Duration,
    /// The incarnation that the leader knows; on another one the step is refused with
    /// [`ErrorKind::IncarnationChanged`](crate::ErrorKind::IncarnationChanged).
    pub incarnation: Incarnation,
    /// The covered sources with the new position of each.
    pub positions: Vec<(SourceId, Position)>,
    /// For how long from now the feed vouches for the sources; `None` leaves their leases as they are.
    pub lease: Option<Duration>,
    /// Whether everything up to the present was replayed, so that this incarnation may vouch.
    pub arm: bool,
}

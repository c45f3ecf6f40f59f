//! The state of feeds in a store: the leader and the positions.

use std::time::Duration;

use bytes::Bytes;

use crate::{Error, ErrorKind, FeedId, Incarnation, SourceId, Timestamp};

/// A place in one history of a feed.
///
/// A feed whose data is replaced (a file made again, a server restored, a replica set initiated again) goes on in
/// another history. Places of two histories do not compare, even if their numbers would.
///
/// Stores keep both fields unchanged: [`order`](Self::order) begins with the [history](Self::history).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Within one history it sorts like the history, byte by byte.
    pub order: Bytes,
    /// The source's note of where to continue: opaque, at most 16 KiB.
    pub token: Bytes,
}

impl Position {
    /// How many bytes of an order name the history.
    pub const HISTORY: usize = 16;

    /// A place in the history of that name, for example the identity of a server or a file. `order` sorts like the
    /// history.
    #[must_use]
    pub fn new(history: impl AsRef<[u8]>, order: impl AsRef<[u8]>, token: impl Into<Bytes>) -> Self {
        let name = blake3::hash(history.as_ref());
        let order = [&name.as_bytes()[..Self::HISTORY], order.as_ref()].concat();
        Self { order: order.into(), token: token.into() }
    }

    /// Names the history: equal for places that compare.
    #[must_use]
    pub fn history(&self) -> &[u8] {
        self.order.get(..Self::HISTORY).unwrap_or(&self.order)
    }

    /// The place within the history: the `order` of [`new`](Self::new).
    #[must_use]
    pub fn place(&self) -> &[u8] {
        self.order.get(Self::HISTORY..).unwrap_or_default()
    }
}

/// Saved positions, in the order they were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Positions {
    /// `None` where a source has none yet.
    pub positions: Vec<Option<Position>>,
    /// The incarnation they were read on; a [`FeedStep`] on another one is refused.
    pub incarnation: Incarnation,
}

impl FeedStep {
    /// The error for the step of an older leader.
    #[must_use]
    pub fn fenced(&self) -> Error {
        Error::new(ErrorKind::Fenced, "another leader of the feed took over: this one stops")
            .with_context("feed", &self.feed)
            .with_context("fence", self.fence)
    }

    /// The error for a step on another incarnation of the store, which has another history to replay.
    #[must_use]
    pub fn of_other_incarnation(&self) -> Error {
        let message = "the store is another incarnation than the leader of the feed knows: start again from the saved \
                       positions";
        Error::new(ErrorKind::IncarnationChanged, message).with_context("feed", &self.feed)
    }
}

/// Whether this process leads a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leadership {
    /// It does, under a fence that is higher than every earlier leader's.
    Leader {
        /// Goes with every step of the feed.
        fence: u64,
    },
    /// Another process does.
    Follower {
        /// Until its lease ends.
        retry_after: Duration,
    },
}

/// A leader's progress, saved in the same step as the invalidation that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// For how long from now the feed confirms the sources; `None` leaves their validity unchanged.
    pub valid_for: Option<Duration>,
    /// The store's time at which the validity ends in any case, however long the step was on its way; `None` for a
    /// leader that does not know the store's time yet.
    pub deadline: Option<Timestamp>,
    /// Whether the feed has replayed everything up to the present, so that this incarnation may confirm.
    pub caught_up: bool,
}

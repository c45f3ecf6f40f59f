//! Up to which instant a stream has delivered everything.
//!
//! An empty reply proves nothing by itself: a server that reads through a long stretch of changes of other collections
//! answers empty as well. What proves it is the cluster's clock. The primary is asked for its time at an instant; when the
//! stream has come to that time, it has delivered every change that was made before the instant.

use std::{collections::VecDeque, time::Instant};

use crate::position::{ClusterTime, Covers};

/// Enough for a feed that lags. One that lags more has no use for younger marks until it has passed the old ones.
const MAX_MARKS: usize = 64;

/// One reply of the stream, as far as it proves something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// When it was asked for.
    pub(crate) asked: Instant,
    /// The time of the last change in it.
    pub(crate) last_change: Option<ClusterTime>,
    /// What the token at its end covers.
    pub(crate) covers: Covers,
    /// Whether the token is the one of the reply before: the server has found nothing new at all.
    pub(crate) unmoved: bool,
}

/// What is known about how far a stream is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Instants, each with a time of the cluster that was not before it.
    marks: VecDeque<(Instant, ClusterTime)>,
    as_of: Option<Instant>,
}

impl Progress {
    /// Whether another mark is of use.
    pub(crate) fn wants_mark(&self) -> bool {
        self.marks.len() < MAX_MARKS
    }

    /// The primary's clock, asked for at an instant.
    pub(crate) fn mark(&mut self, at: Instant, time: ClusterTime) {
        self.marks.push_back((at, time));
    }

    /// Draws the conclusions from a reply: as of when everything was delivered, if it proves more than those before.
    pub(crate) fn see(&mut self, reply: Seen) -> Option<Instant> {
        let before = self.as_of;
        let empty = reply.last_change.is_none();
        let covered = match reply.covers {
            Covers::UpTo(time) | Covers::AtLeast(time) => Some(time),
            Covers::Unknown => None,
        };
        let reached = covered.max(reply.last_change);
        // At the very time of a mark there may be more changes to come (those of one transaction share their time), unless
        // the server has just looked and found none.
        let passed = |time: ClusterTime| reached.is_some_and(|reached| reached > time || (reached == time && empty));
        while let Some(&(at, time)) = self.marks.front()
            && passed(time)
        {
            self.as_of = Some(at);
            self.marks.pop_front();
        }
        // Tokens that do not follow the clock of an idle server, or do not tell it, say as much by not changing.
        if empty && reply.unmoved && !matches!(reply.covers, Covers::UpTo(_)) {
            self.as_of = self.as_of.max(Some(reply.asked));
            self.marks.clear();
        }
        self.as_of.filter(|_| self.as_of > before)
    }
}

#[cfg(test)]
mod tests;

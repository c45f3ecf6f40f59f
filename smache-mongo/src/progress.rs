//! Up to which instant a stream has delivered everything.
//!
//! An empty reply alone proves nothing: a server that reads through a long stretch of changes of other collections
//! answers empty as well. The cluster's clock proves it. The feed asks the primary for its time at an instant; when the
//! stream has reached that time, it has delivered every change from before the instant.

use std::{collections::VecDeque, time::Instant};

use crate::position::{ClusterTime, Covers};

/// Enough for a feed that lags. A feed that lags more needs no younger marks until it has passed the old ones.
const MAX_MARKS: usize = 64;

/// The facts of one reply that prove progress.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// When the feed asked for it.
    pub(crate) asked: Instant,
    /// The time of the last change in it.
    pub(crate) last_change: Option<ClusterTime>,
    /// The time that the token at its end covers.
    pub(crate) covers: Covers,
    /// Whether the token is that of the reply before: the server has found nothing new.
    pub(crate) unmoved: bool,
}

/// How far a stream is known to be.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Instants, each with a cluster time that was not before it.
    marks: VecDeque<(Instant, ClusterTime)>,
    as_of: Option<Instant>,
}

impl Progress {
    /// Whether another mark helps.
    pub(crate) fn wants_mark(&self) -> bool {
        self.marks.len() < MAX_MARKS
    }

    /// Adds the primary's time, asked for at an instant.
    pub(crate) fn mark(&mut self, at: Instant, time: ClusterTime) {
        self.marks.push_back((at, time));
    }

    /// Takes a reply into account. Returns as of when everything was delivered, if the reply proves more than those
    /// before.
    pub(crate) fn see(&mut self, reply: Seen) -> Option<Instant> {
        let before = self.as_of;
        let empty = reply.last_change.is_none();
        let covered = match reply.covers {
            Covers::UpTo(time) | Covers::AtLeast(time) => Some(time),
            Covers::Unknown => None,
        };
        let reached = covered.max(reply.last_change);
        // At the time of a mark more changes may follow (those of one transaction share their time), unless the server
        // has just looked and found none.
        let passed = |time: ClusterTime| reached.is_some_and(|reached| reached > time || (reached == time && empty));
        while let Some(&(at, time)) = self.marks.front()
            && passed(time)
        {
            self.as_of = Some(at);
            self.marks.pop_front();
        }
        // Tokens that do not follow the clock of an idle server, or do not contain it, prove as much by not changing.
        if empty && reply.unmoved && !matches!(reply.covers, Covers::UpTo(_)) {
            self.as_of = self.as_of.max(Some(reply.asked));
            self.marks.clear();
        }
        self.as_of.filter(|_| self.as_of > before)
    }
}

#[cfg(test)]
mod tests;

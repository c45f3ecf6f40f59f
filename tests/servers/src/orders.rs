//! The messages between tests and nodes, a line of JSON each.

use serde::{Deserialize, Serialize};
use smache::{Cached, Freshness};

/// An order to a node. Every order has a number, and its answer has the same.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Order {
    /// `get` of a report.
    Get {
        /// The document.
        id: i64,
        /// How long the function takes.
        millis: u64,
    },
    /// `get` of a report, with nothing but a fresh value.
    GetFresh {
        /// The document.
        id: i64,
        /// How long the function takes.
        millis: u64,
    },
    /// `get` of a document's number, which the test lets through.
    GetHeld {
        /// The document.
        id: i64,
    },
    /// `peek` at a report.
    Peek {
        /// The document.
        id: i64,
        /// How long the function takes.
        millis: u64,
    },
    /// The counts of the process so far.
    Count,
    /// Everything in the process stands still, as when its machine does. The answer comes after it.
    Freeze {
        /// For how long.
        millis: u64,
    },
    /// An orderly end of the feeds and the maintenance, which others then take over. The process goes on.
    Resign,
}

/// The answer of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// It is there: the answer that comes first, to order 0.
    Ready,
    /// A value, or none.
    Value(Option<Sight>),
    /// Numbers.
    Counted(Counted),
    /// Done.
    Done,
    /// An error, as its report.
    Failed(String),
}

/// A value as a reader saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// The number of the document.
    pub n: i64,
    /// The freshness that the reader got with it.
    pub state: State,
}

/// The freshness of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It is confirmed.
    Fresh,
    /// Something changed.
    Stale,
    /// No feed confirms it.
    Unconfirmed,
}

impl State {
    /// The state of a value of any type.
    #[must_use]
    pub fn of<T>(cached: &Cached<T>) -> Self {
        match cached.freshness() {
            Freshness::Fresh { .. } => Self::Fresh,
            Freshness::Stale { .. } => Self::Stale,
            _ => Self::Unconfirmed,
        }
    }
}

impl From<Cached<i64>> for Sight {
    fn from(cached: Cached<i64>) -> Self {
        Self { n: *cached, state: State::of(&cached) }
    }
}

/// The counts of a process so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Runs of functions.
    pub runs: u64,
    /// Changes that it handed to the store: only the one that leads the feed does.
    pub changes: u64,
    /// Runs that a change overtook, so that another one is necessary.
    pub conflicts: u64,
    /// Runs that ended in an error.
    pub failures: u64,
    /// Runs that lost their lease.
    pub lost: u64,
    /// Reads that computed without the store.
    pub bypasses: u64,
    /// Jobs that it left to others.
    pub unknown_jobs: u64,
}

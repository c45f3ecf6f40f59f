//! The log: what processes tell the checker, a line of JSON each.

use serde::{Deserialize, Serialize};

use crate::world::{Item, Question};

/// Nanoseconds of the machine's monotonic clock.
pub(crate) type Time = u64;

/// A line of the log of a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Line {
    /// A writer is about to write a number. In the log before the write begins.
    Start(Item, i64, Time),
    /// The write is committed.
    Written(Item, i64, Time),
    /// The change is acknowledged: a report, or the barrier of the feed, has returned.
    Acked(Item, i64, Time),
    /// A writer is alive: no line with an earlier time follows.
    Tick(Time),
    /// A read.
    Read(Read),
    /// An error that is not a reader's, or an explanation.
    Text(String),
}

/// A read, with all its answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Read {
    /// A different number for each sequence of reads.
    #[serde(rename = "r")]
    pub(crate) reader: u64,
    /// Before the read began.
    #[serde(rename = "t")]
    pub(crate) asked: Time,
    /// After it ended.
    #[serde(rename = "u")]
    pub(crate) answered: Time,
    /// What the reader demanded.
    #[serde(rename = "d")]
    pub(crate) demand: Demand,
    #[serde(rename = "a")]
    pub(crate) answers: Vec<(Question, Label, Vec<i64>)>,
}

/// What a reader demanded of the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Demand {
    /// Whatever is there: only answers called fresh promise something.
    #[serde(rename = "n")]
    Nothing,
    /// Everything that was acknowledged before the read: `.fresh()`.
    #[serde(rename = "f")]
    Fresh,
    /// At least this number of an entity: `.at_least(token)`.
    #[serde(rename = "l")]
    AtLeast(Item, i64),
}

/// What an answer was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Label {
    #[serde(rename = "F")]
    Fresh,
    #[serde(rename = "S")]
    Stale,
    #[serde(rename = "U")]
    Unconfirmed,
    /// There was none.
    #[serde(rename = "N")]
    Nothing,
    #[serde(rename = "E")]
    Error,
}

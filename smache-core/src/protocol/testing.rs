//! The parts that the unit tests of the steps begin with.

use std::time::Duration;

use super::parts::{Changes, Head, Run};
use crate::{
    Commit, Dependency, EntryId, Epoch, Epochs, FeedId, FeedStep, Incarnation, OnConflict, Position, SourceId,
    Staleness, Timestamp, Token, UsedDependency, Validity, Via,
};

pub(super) const ID: EntryId = EntryId::from_bytes([1; EntryId::LEN]);

pub(super) fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn token(number: u8) -> Token {
    Token::from_bytes([number; Token::LEN])
}

pub(super) fn epoch(number: u8) -> Epoch {
    Epoch::from_bytes([number; Epoch::LEN])
}

pub(super) fn here() -> Incarnation {
    Incarnation::new("here")
}

pub(super) fn source(name: &str) -> SourceId {
    SourceId::new(name).expect("a good name")
}

pub(super) fn dependency(number: u8) -> Dependency {
    Dependency::from_bytes([number; Dependency::LEN])
}

pub(super) fn used(number: u8, via: Via) -> UsedDependency {
    UsedDependency { dependency: dependency(number), via }
}

/// The epoch of every namespace of these tests is 1.
pub(super) fn validity() -> Validity {
    Validity::new(epoch(1))
}

pub(super) fn run(number: u8) -> Run {
    Run { token: token(number), start_revision: 5, until: at(100), waits: Vec::new() }
}

pub(super) fn head(staleness: Staleness) -> Head {
    Head {
        version: 3,
        epochs: Epochs { global: epoch(1), sources: Vec::new() },
        staleness,
        since: (staleness != Staleness::Fresh).then(|| at(40)),
        stored_at: at(30),
        expires: None,
        lazy: false,
        conflicts: 2,
        failures: 1,
        last_failure: None,
        causes: vec!["an earlier change".into()],
    }
}

/// A commit of run 1 with some dependencies.
pub(super) fn value(used: &[UsedDependency]) -> Commit {
    Commit {
        id: ID,
        token: token(1),
        start_revision: 5,
        version: 5,
        on_conflict: OnConflict::StoreStale,
        incarnation: here(),
        epochs: Epochs { global: epoch(1), sources: Vec::new() },
        call: "call".into(),
        value: "value".into(),
        meta: "meta".into(),
        used: used.to_vec(),
        ttl: None,
        not_after: None,
        tainted: false,
        lazy: false,
        conflict_delay: ms(7),
    }
}

/// A step of a feed under fence 4 that moves one source.
pub(super) fn step(history: &str, place: u8) -> FeedStep {
    FeedStep {
        feed: FeedId::new("feed").expect("a good name"),
        fence: 4,
        leadership: ms(50),
        incarnation: here(),
        positions: vec![(source("users"), Position::new(history, [place], "token"))],
        valid_for: Some(ms(20)),
        deadline: None,
        caught_up: true,
    }
}

/// Changes of dependencies: revision 9, low watermark 2, the last change of each, and those that have a mark.
pub(super) fn changes(last: &[(u8, u64)], marked: &[u8]) -> Changes {
    let last = last.iter().map(|(number, revision)| (dependency(*number), *revision)).collect();
    Changes { revision: 9, low_watermark: 2, last, marked: marked.iter().map(|number| dependency(*number)).collect() }
}

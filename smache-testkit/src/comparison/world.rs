//! What the small numbers of a sequence stand for.

use smache_core::{Dependency, EntryId, FeedId, Incarnation, Position, SourceId, Token};

use super::operation::{ENTRIES, FEEDS, Leader, PROCESSES, PROGRAMS, RESERVATIONS, RUNS, SOURCES, TAGS};
use crate::steps::{self, position_in};

const NAMES: [&str; SOURCES as usize] = ["users", "orders", "items"];

/// The numbers in a set.
pub(super) fn members(set: u8) -> impl Iterator<Item = u8> {
    (0..u8::BITS as u8).filter(move |bit| set & (1 << bit) != 0)
}

pub(super) fn entry(number: u8) -> EntryId {
    steps::id(number.into())
}

pub(super) fn entries(set: u8) -> Vec<EntryId> {
    members(set).filter(|number| *number < ENTRIES).map(entry).collect()
}

pub(super) fn all_entries() -> Vec<EntryId> {
    (0..ENTRIES).map(entry).collect()
}

/// The number of an entry; one more than the largest for any other id.
pub(super) fn number_of(id: &EntryId) -> usize {
    all_entries().iter().position(|entry| entry == id).unwrap_or(ENTRIES.into())
}

pub(super) fn tags(set: u8) -> impl Iterator<Item = Dependency> {
    members(set).filter(|number| *number < TAGS).map(steps::tag)
}

/// Every dependency that a value may have.
pub(super) fn dependencies() -> Vec<Dependency> {
    tags(u8::MAX).chain(all_entries().iter().map(Dependency::entry)).collect()
}

pub(super) fn sources(set: u8) -> Vec<SourceId> {
    members(set).filter_map(|number| NAMES.get(usize::from(number))).map(|name| steps::source(name)).collect()
}

pub(super) fn position(history: u8, place: u8) -> Position {
    position_in(["the history", "another history"][usize::from(history.min(1))], place.into())
}

/// A run that has begun.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) run: steps::Run,
    /// The revision of the last report of conflicts.
    pub(super) reported: Option<u64>,
}

/// Jobs that were reserved under one token.
#[derive(Debug, Clone)]
pub(super) struct Reserved {
    pub(super) request: smache_core::Reserve,
}

/// A process that has led a feed.
#[derive(Debug, Clone)]
pub(super) struct Led {
    pub(super) fence: u64,
    pub(super) incarnation: Incarnation,
}

/// What the processes of a sequence remember.
#[derive(Debug, Default)]
pub(super) struct Slots {
    pub(super) runs: [Option<Run>; RUNS as usize],
    pub(super) reservations: [Option<Reserved>; RESERVATIONS as usize],
    pub(super) leaders: [[Option<Led>; PROCESSES as usize]; FEEDS as usize],
    tokens: u64,
}

impl Slots {
    /// A token that the sequence has not used.
    pub(super) fn token(&mut self) -> Token {
        self.tokens += 1;
        token(0xA0, self.tokens)
    }

    pub(super) fn put_run(&mut self, slot: u8, run: Run) {
        if let Some(place) = self.runs.get_mut(usize::from(slot)) {
            *place = Some(run);
        }
    }

    /// A run has learned of conflicts.
    pub(super) fn reported(&mut self, slot: u8, revision: u64) {
        if let Some(Some(run)) = self.runs.get_mut(usize::from(slot)) {
            run.reported = Some(revision);
        }
    }

    pub(super) fn reservation(&self, slot: u8) -> Option<&Reserved> {
        self.reservations.get(usize::from(slot))?.as_ref()
    }

    pub(super) fn put_reservation(&mut self, slot: u8, reserved: Reserved) {
        if let Some(place) = self.reservations.get_mut(usize::from(slot)) {
            *place = Some(reserved);
        }
    }

    pub(super) fn leader(&self, leader: &Leader) -> Option<&Led> {
        self.leaders.get(usize::from(leader.feed))?.get(usize::from(leader.process))?.as_ref()
    }

    pub(super) fn put_leader(&mut self, leader: &Leader, led: Led) {
        let feed = self.leaders.get_mut(usize::from(leader.feed));
        if let Some(place) = feed.and_then(|feed| feed.get_mut(usize::from(leader.process))) {
            *place = Some(led);
        }
    }
}

/// The token of a program.
pub(super) fn program(number: u8) -> Token {
    token(number.min(PROGRAMS), 0)
}

/// The token of a process that leads.
pub(super) fn holder(feed: u8, process: u8) -> Token {
    token(0xC0 + feed, process.into())
}

fn token(kind: u8, number: u64) -> Token {
    let mut bytes = [kind; Token::LEN];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    Token::from_bytes(bytes)
}

pub(super) fn feed(number: u8) -> FeedId {
    steps::feed(["feed", "another-feed"][usize::from(number.min(1))])
}

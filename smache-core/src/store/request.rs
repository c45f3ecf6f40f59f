//! The arguments and answers of a store's methods.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Epochs, FeedStep, Record, StoredEntry, Validity};
use crate::{
    ChangedDependency, Dependency, EntryId, Error, ErrorKind, Incarnation, Result, Timestamp, Token, UsedDependency,
    Via,
};

/// Whether the store or the engine writes the jobs of stale entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobWrites {
    /// The store, in the same step, into the queue that it shares its server with.
    SameStep,
    /// The engine: the store returns the ids, the engine enqueues them, and the reconciler catches those that a crash
    /// lost.
    Reported,
}

/// The answer of a look-up.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The store's time.
    pub now: Timestamp,
    /// Which incarnation of the store answered.
    pub incarnation: Incarnation,
    /// The validity of the entries.
    pub validity: Arc<Validity>,
    /// The entries, in the order of the ids.
    pub entries: Vec<Option<StoredEntry>>,
}

/// The answer to a look at a whole record.
#[derive(Debug, Clone)]
pub struct FullRecord {
    /// The store's time.
    pub now: Timestamp,
    /// Which incarnation of the store answered.
    pub incarnation: Incarnation,
    /// The validity of the entry.
    pub validity: Arc<Validity>,
    /// The record, if there is one.
    pub record: Option<Record>,
}

/// Entries that depend on something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependants {
    /// The entries, and how each depends.
    pub entries: Vec<(EntryId, Via)>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<Bytes>,
}

/// Starts a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Begin {
    /// Of which entry.
    pub id: EntryId,
    /// The token of the run, new for every attempt.
    pub token: Token,
    /// How long the lease holds unless it is extended.
    pub lease: Duration,
}

/// The answer to [`Begin`].
#[derive(Debug, Clone)]
pub enum BeginOutcome {
    /// The run holds the lease.
    Begun(Box<Begun>),
    /// Another run holds it for at most that long, unless it extends.
    Busy {
        /// Until its lease lapses.
        remaining: Duration,
    },
}

/// The state of the store when a run begins.
#[derive(Debug, Clone)]
pub struct Begun {
    /// The revision: later changes conflict with the run.
    pub start_revision: u64,
    /// The store's time.
    pub now: Timestamp,
    /// Which incarnation of the store.
    pub incarnation: Incarnation,
    /// The validity of the sources, with the epochs.
    pub validity: Arc<Validity>,
    /// The stored value, if any, expired or not.
    pub entry: Option<StoredEntry>,
    /// The canonical call of the stored record.
    pub call: Option<Bytes>,
    /// The dependencies of the stored record.
    pub used: Vec<UsedDependency>,
    /// Runs in a row that a change overtook.
    pub conflicts: u32,
    /// Whether a dependency of the record is being invalidated right now: a short wait may save a conflict.
    pub pending: bool,
}

/// Stores the result of a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Commit {
    /// Of which entry.
    pub id: EntryId,
    /// The run's token.
    pub token: Token,
    /// The revision of begin.
    pub start_revision: u64,
    /// The version of the value: later changes conflict with it. Either the revision of begin, or that of a
    /// [`CommitOutcome::ConflictReported`] whose dependencies the run has read again and found unchanged.
    pub version: u64,
    /// The fate of the value if changes have overtaken it.
    pub on_conflict: OnConflict,
    /// The incarnation of begin.
    pub incarnation: Incarnation,
    /// The epochs of begin, of the used sources.
    pub epochs: Epochs,
    /// The canonical call.
    pub call: Bytes,
    /// The encoded result.
    pub value: Bytes,
    /// The engine's notes.
    pub meta: Bytes,
    /// Every dependency that the run used.
    pub used: Vec<UsedDependency>,
    /// How long the entry lives from now.
    pub ttl: Option<Duration>,
    /// The earliest end of the values that it was made of; it counts if it is sooner than the end of the ttl.
    pub not_after: Option<Timestamp>,
    /// Stored as stale in any case: the run could not read everything fresh.
    pub tainted: bool,
    /// Whether a stale value waits for a reader instead of a worker.
    pub lazy: bool,
    /// How long the job of a value stored as stale waits, so that a hot entity leaves room for others.
    pub conflict_delay: Duration,
}

/// The fate of a value that changes have overtaken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnConflict {
    /// It is stored as stale.
    StoreStale,
    /// Nothing is stored and the run goes on, where changes of at most [`MAX_REPORTED`](Self::MAX_REPORTED)
    /// dependencies are the only objection to the value: the run may have seen them.
    Report,
}

impl OnConflict {
    /// How many changed dependencies a report names at most.
    pub const MAX_REPORTED: usize = 64;
}

/// The answer to [`Commit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Stored, fresh as of the store's time.
    Fresh {
        /// The store's time.
        now: Timestamp,
    },
    /// Stored as stale: a dependency that it used changed meanwhile.
    Conflicted {
        /// The store's time.
        now: Timestamp,
        /// The changed dependencies, at most 8; empty when the epoch changed, or the run was tainted.
        dependencies: Vec<Dependency>,
    },
    /// Not stored, and the run goes on: a dependency that it used changed meanwhile, and the commit asked for the
    /// report.
    ConflictReported {
        /// The store's time.
        now: Timestamp,
        /// The revision of the answer: a change of a dependency that is not named has a later one.
        revision: u64,
        /// All dependencies that changed or are being changed, each once.
        dependencies: Vec<Dependency>,
    },
    /// Not stored: another run has the entry, or it was removed.
    Lost,
    /// Not stored: the store is another incarnation than at begin.
    OtherIncarnation,
}

/// The answer to [`EntryStore::changed_since`](super::EntryStore::changed_since).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedSince {
    /// The incarnation of the store that answers: on another one than that of the revision, no dependency is known to
    /// be unchanged.
    pub incarnation: Incarnation,
    /// The revision of the answer: a change of a dependency that is not named has a later one.
    pub revision: u64,
    /// The dependencies that changed or are being changed, each once.
    pub dependencies: Vec<Dependency>,
}

/// Gives a run up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abort {
    /// Of which entry.
    pub id: EntryId,
    /// The run's token.
    pub token: Token,
    /// The error, if the run failed by itself; recorded on the entry.
    pub failure: Option<String>,
    /// How long the job of a stale entry waits.
    pub delay: Duration,
}

/// A run that waits for the run of another entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingRun {
    /// The entry of the waiting run.
    pub id: EntryId,
    /// The token of the waiting run.
    pub token: Token,
    /// The entry of the run that it waits for.
    pub child: EntryId,
}

/// Notes which runs wait for which entries, and asks for the waits that lead on from the run of a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordWaits {
    /// The runs that wait.
    pub runs: Vec<WaitingRun>,
    /// How long the notes count unless they are made again; zero ends them.
    pub lease: Duration,
    /// Where the answer starts.
    pub child: EntryId,
}

/// A change, in a store's terms.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Invalidation {
    /// The dependencies that it affects.
    pub changed: Vec<ChangedDependency>,
    /// Entries that are invalidated themselves, with [`Dependency::entry`] of each among the changed dependencies.
    pub entries: Vec<EntryId>,
    /// The progress of the feed that it came from.
    pub step: Option<FeedStep>,
}

/// The answer to [`Invalidation`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Invalidated {
    /// The revision after it. A computation that starts now starts at this revision or later.
    pub revision: u64,
    /// How many entries were marked, including those that were stale already.
    pub marked: u64,
    /// The entries that need a job, with [`JobWrites::Reported`].
    pub jobs: Vec<EntryId>,
}

/// The outcome of a piece of maintenance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Maintained {
    /// Expired entries removed.
    pub expired: u64,
    /// Lapsed runs reaped.
    pub reaped: u64,
    /// Revisions of old invalidations dropped.
    pub trimmed: u64,
    /// Unfinished invalidations done again.
    pub redone: u64,
    /// Entries of old epochs marked stale.
    pub marked: u64,
    /// The entries that need a job, with [`JobWrites::Reported`].
    pub jobs: Vec<EntryId>,
    /// Whether the limit ended it, so that there is more to do at once.
    pub more: bool,
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Where the last page ended; `None` starts.
    pub cursor: Option<Bytes>,
    /// The most entries of an answer, roughly.
    pub limit: usize,
}

impl Page {
    /// The first page.
    #[must_use]
    pub fn first(limit: usize) -> Self {
        Self { cursor: None, limit }
    }

    /// The entry behind which the page starts, where a cursor is the id of the last entry.
    ///
    /// # Errors
    /// [`not_a_cursor`](Self::not_a_cursor).
    pub fn after(&self) -> Result<Option<EntryId>> {
        self.cursor.as_deref().map(Self::id_in).transpose()
    }

    /// The entry in such a cursor.
    ///
    /// # Errors
    /// [`not_a_cursor`](Self::not_a_cursor).
    pub fn id_in(cursor: &[u8]) -> Result<EntryId> {
        EntryId::from_slice(cursor).map_err(|error| Self::not_a_cursor().with_source(error))
    }

    /// The error for a cursor that no listing returned: it comes from outside.
    #[must_use]
    pub fn not_a_cursor() -> Error {
        let message = "a cursor is not one that a listing of this backend answered: start without one";
        Error::new(ErrorKind::Argument, message)
    }
}

/// Entries of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// The entries, each with the time since when it is stale.
    pub entries: Vec<(EntryId, Timestamp)>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<Bytes>,
}

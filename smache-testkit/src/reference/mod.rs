//! The protocol as data: the store and the queue of one partition, as [`Partition`].
//!
//! It is what a backend is compared with, and a state for a model checker. Every step is one method: it collects the view
//! of the functions of [`protocol`], calls one, and writes the plan down. No method decides anything itself, and none has a clock, random numbers or I/O: the caller gives the [`Moment`], and
//! the new epochs where a step needs some. Nothing here is fast: a step walks over whole maps.
//!
//! An invalidation and a redo of maintenance come as a whole and as their parts ([`open`](Partition::open),
//! [`walk`](Partition::walk), [`finish`](Partition::finish); [`overdue`](Partition::overdue),
//! [`redo_page`](Partition::redo_page), [`finish_redo`](Partition::finish_redo)), so that steps of others come in
//! between.
//!
//! The register of programs is not here: no other step reads it.
//!
//! ```
//! use std::time::Duration;
//!
//! use smache_core::{Begin, BeginOutcome, EntryId, Epoch, Incarnation, Timestamp, Token};
//! use smache_testkit::reference::{Moment, Partition};
//!
//! let mut partition = Partition::new(Epoch::from_bytes([1; 16]));
//! let incarnation = Incarnation::new("one");
//! let at = Moment { now: Timestamp::from_millis(5), incarnation: &incarnation };
//! let id = EntryId::from_bytes([7; 24]);
//! let begin = Begin { id, token: Token::from_bytes([1; 16]), lease: Duration::from_secs(1) };
//! assert!(matches!(partition.begin(at, &begin), BeginOutcome::Begun(_)));
//! assert_eq!(partition.runs[&id].start_revision, 0);
//! ```

mod feeds;
mod invalidate;
mod jobs;
mod maintain;
mod runs;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use smache_core::{
    Dependency, EntryId, Epoch, FeedId, FullRecord, Incarnation, InvalidationAttempt, JobWrites, Lookup, Position,
    Record, SourceId, StoredEntry, Timestamp, UsedDependency, Validity, Via,
    protocol::{self, ChangeLog, Head, JobWrite, Leader, Mark, Run, StoredJob},
};

pub use self::{
    invalidate::{Opened, Walk},
    maintain::Redo,
};

/// When a step happens, and on which incarnation of the store.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// The store's time.
    pub now: Timestamp,
    /// The store's incarnation.
    pub incarnation: &'a Incarnation,
}

/// A store and a queue: the state of one partition of the [protocol], with nothing beside it but
/// the edges, which the records hold as well.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Partition {
    /// Whether its steps write the jobs, or report the entries that need one.
    pub job_writes: JobWrites,
    /// The number of invalidations so far.
    pub revision: u64,
    /// The revision below which invalidations are forgotten.
    pub low_watermark: u64,
    /// The epochs, and until when each source is confirmed, the attached ones included.
    pub validity: Validity,
    /// The saved position of each source.
    pub positions: BTreeMap<SourceId, Position>,
    /// The leader of each feed.
    pub leaders: BTreeMap<FeedId, Leader>,
    /// The revision of the last invalidation of each dependency.
    pub changed: BTreeMap<Dependency, u64>,
    /// The marks of invalidations under way.
    pub marks: BTreeMap<(Dependency, InvalidationAttempt), Mark>,
    /// The present run of each entry.
    pub runs: BTreeMap<EntryId, Run>,
    /// The stored values.
    pub records: BTreeMap<EntryId, Entry>,
    /// How each dependant of a dependency depends on it.
    pub edges: BTreeMap<(Dependency, EntryId), Via>,
    /// The job of each entry.
    pub jobs: BTreeMap<EntryId, StoredJob>,
    /// Behind which entry the walk over entries of old epochs goes on; `None` where there is none.
    pub sweep: Option<Option<EntryId>>,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The fields that steps change.
    pub head: Head,
    /// The encoded result.
    pub value: Bytes,
    /// The engine's notes.
    pub meta: Bytes,
    /// The canonical call.
    pub call: Bytes,
    /// The dependencies with an edge.
    pub used: Vec<UsedDependency>,
}

impl Entry {
    /// The part that a look-up returns.
    #[must_use]
    pub fn stored(&self) -> StoredEntry {
        self.head.entry(self.value.clone(), self.meta.clone())
    }

    /// All of it.
    #[must_use]
    pub fn record(&self) -> Record {
        self.head.record(self.value.clone(), self.meta.clone(), self.call.clone(), self.used.clone())
    }
}

impl ChangeLog for Partition {
    fn revision(&self) -> u64 {
        self.revision
    }

    fn low_watermark(&self) -> u64 {
        self.low_watermark
    }

    fn last_change(&self, dependency: &Dependency) -> Option<u64> {
        self.changed.get(dependency).copied()
    }

    fn is_marked(&self, dependency: &Dependency) -> bool {
        self.marks.keys().any(|(marked, _)| marked == dependency)
    }
}

impl Partition {
    /// An empty partition in its first epoch, which writes the jobs itself.
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        let mut validity = Validity::new(epoch);
        validity.attached_until = Some(Timestamp::default());
        Self {
            job_writes: JobWrites::SameStep,
            revision: 0,
            low_watermark: 0,
            validity,
            positions: BTreeMap::new(),
            leaders: BTreeMap::new(),
            changed: BTreeMap::new(),
            marks: BTreeMap::new(),
            runs: BTreeMap::new(),
            records: BTreeMap::new(),
            edges: BTreeMap::new(),
            jobs: BTreeMap::new(),
            sweep: None,
        }
    }

    /// Reads entries with their validity.
    #[must_use]
    pub fn lookup(&self, at: Moment<'_>, ids: &[EntryId]) -> Lookup {
        Lookup {
            now: at.now,
            incarnation: at.incarnation.clone(),
            validity: Arc::new(self.validity.clone()),
            entries: ids.iter().map(|id| self.records.get(id).map(Entry::stored)).collect(),
        }
    }

    /// Reads a whole record with its validity.
    #[must_use]
    pub fn read_record(&self, at: Moment<'_>, id: &EntryId) -> FullRecord {
        FullRecord {
            now: at.now,
            incarnation: at.incarnation.clone(),
            validity: Arc::new(self.validity.clone()),
            record: self.records.get(id).map(Entry::record),
        }
    }

    /// The stale entries that do not refresh on read, each with the time since when.
    #[must_use]
    pub fn stale(&self) -> Vec<(EntryId, Timestamp)> {
        let stale = self.records.iter().filter(|(_, entry)| entry.head.since.is_some() && !entry.head.lazy);
        stale.map(|(id, entry)| (*id, entry.head.since.unwrap_or(entry.head.stored_at))).collect()
    }

    /// The entries that depend on something.
    #[must_use]
    pub fn dependants(&self, dependency: &Dependency) -> Vec<(EntryId, Via)> {
        let all = self.edges.iter().filter(|((of, _), _)| of == dependency);
        all.map(|((_, id), via)| (*id, *via)).collect()
    }

    /// Replaces a record with its edges.
    fn put(&mut self, id: EntryId, entry: Entry) {
        self.edges.retain(|(_, dependant), _| *dependant != id);
        self.edges.extend(entry.used.iter().map(|used| ((used.dependency, id), used.via)));
        self.records.insert(id, entry);
    }

    /// Removes a record with its edges and its job, but not its run, which may still store a value. Says whether there
    /// was one.
    fn forget(&mut self, at: Moment<'_>, id: &EntryId) -> bool {
        self.edges.retain(|(_, dependant), _| dependant != id);
        let removed = self.records.remove(id).is_some();
        if removed {
            self.write_job(at, *id, JobWrite::TakeBack, &mut Vec::new());
        }
        removed
    }

    /// Does to the job of an entry what a step on the entry says, or reports the entry.
    fn write_job(&mut self, at: Moment<'_>, id: EntryId, write: JobWrite, reported: &mut Vec<EntryId>) {
        match self.job_writes {
            JobWrites::SameStep => match protocol::job_write(self.jobs.get(&id), write, at.now) {
                Some(job) => drop(self.jobs.insert(id, job)),
                None => drop(self.jobs.remove(&id)),
            },
            JobWrites::Reported => reported.extend(write.is_need().then_some(id)),
        }
    }
}

//! Rows of a look-up: the namespace with its sources, the entries, and the rest of their records.
//!
//! One statement answers them all, so that they are of one moment. Its columns are `kind, t, u, a, b, c, d, i … m`: two
//! texts, four byte strings and five numbers, which mean something else in each kind of row.
//!
//! | kind | texts | byte strings | numbers |
//! |---|---|---|---|
//! | 0 the namespace | incarnation, null for a program that the tables no longer serve | epoch | now, revision |
//! | 1 a source | name, caught up on | epoch | valid until |
//! | 2 an entry | | id, epochs, meta, value | version, staleness, since, stored at, expires |
//! | 3 the rest of it | last failure, causes | id, call, used | conflicts, failures, failed at, lazy |
//! | 4 busy | | | for how long |

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use smache_core::{
    EntryId, Epoch, Epochs, Incarnation, Record, Result, RunFailure, SourceId, SourceValidity, Staleness, StoredEntry,
    Timestamp, UsedDependency, Validity,
    support::{log_damaged_epoch, log_damaged_record},
};

use crate::{
    cells::{Cells, count, few, timestamp},
    error::{corrupt, failed, wrong_server},
    version::MIGRATED,
};

const UNREADABLE: &str = "the bookkeeping of a record cannot be read";
const UNREADABLE_STALENESS: &str = "the `staleness` of a record is not one";
const UNREADABLE_EPOCHS: &str = "the `epochs` of a record cannot be read";
const UNREADABLE_CAUSES: &str = "the `causes` of a record cannot be read";
const UNREADABLE_USED: &str = "what a record has `used` cannot be read";

/// The answer of a look-up.
#[derive(Default)]
pub(crate) struct Rows {
    pub(crate) head: Option<Head>,
    pub(crate) entries: HashMap<EntryId, StoredEntry>,
    rest: HashMap<EntryId, Rest>,
    pub(crate) busy: Option<Duration>,
}

/// The row of the namespace, with the sources.
pub(crate) struct Head {
    pub(crate) now: Timestamp,
    pub(crate) incarnation: Incarnation,
    pub(crate) revision: u64,
    pub(crate) validity: Arc<Validity>,
}

/// The part of a record that a hit does not need.
pub(crate) struct Rest {
    pub(crate) call: Bytes,
    pub(crate) used: Vec<UsedDependency>,
    pub(crate) conflicts: u32,
    causes: Vec<Arc<str>>,
    lazy: bool,
    failures: u32,
    last_failure: Option<RunFailure>,
}

impl Rows {
    pub(crate) fn read<R: Cells>(rows: &[R], database: &str) -> Result<Self> {
        let mut read = Self::default();
        let mut now = None;
        let mut incarnation = None;
        let mut revision = 0;
        let mut validity = None::<Validity>;
        let mut sources = Vec::new();
        let mut damaged = Damaged::default();
        for row in rows {
            let row = Row { row, database };
            match row.int(0)? {
                Some(0) => {
                    now = row.int(7)?.map(timestamp);
                    let name = row.text(1)?.ok_or_else(|| wrong_server(MIGRATED, database))?;
                    incarnation = Some(Incarnation::new(name));
                    revision = row.int(8)?.map_or(0, count);
                    let mut empty = Validity::new(row.epoch().unwrap_or_else(Epoch::random));
                    empty.attached_until = Some(row.int(9)?.map_or_else(Default::default, timestamp));
                    validity = Some(empty);
                }
                Some(1) => {
                    // A source whose row cannot be read confirms nothing. Maintenance removes the row, and starts a new
                    // epoch.
                    let name = row.text(1).ok().flatten().and_then(|name| SourceId::new(name).ok());
                    let Some((name, epoch)) = name.zip(row.epoch()) else { continue };
                    let caught_up_on = row.text(2)?.map(Incarnation::new);
                    let validity = match row.int(7)? {
                        Some(valid_until) => SourceValidity::feed(epoch, caught_up_on, timestamp(valid_until)),
                        None => SourceValidity::application(epoch, caught_up_on),
                    };
                    sources.push((name, validity));
                }
                Some(2) => {
                    let id = row.id()?;
                    read.entries.extend(damaged.left_out(id, row.entry()).map(|entry| (id, entry)));
                }
                Some(3) => {
                    let id = row.id()?;
                    read.rest.extend(damaged.left_out(id, row.rest()).map(|rest| (id, rest)));
                }
                Some(4) => read.busy = row.int(7)?.map(|busy| Duration::from_millis(count(busy))),
                _ => return Err(corrupt(UNREADABLE)),
            }
        }
        // As a whole: a value without its dependencies would be taken for one that depends on nothing.
        for id in &damaged.0 {
            read.entries.remove(id);
            read.rest.remove(id);
        }
        if let (Some(now), Some(incarnation), Some(mut validity)) = (now, incarnation, validity) {
            validity.sources.extend(sources);
            read.head = Some(Head { now, incarnation, revision, validity: Arc::new(validity) });
        }
        Ok(read)
    }

    pub(crate) fn take_rest(&mut self, id: &EntryId) -> Option<Rest> {
        self.rest.remove(id)
    }

    /// The whole record of an entry.
    pub(crate) fn take_record(&mut self, id: &EntryId) -> Option<Record> {
        let entry = self.entries.remove(id)?;
        let rest = self.rest.remove(id)?;
        let mut record = Record::new(entry, rest.call, rest.used);
        (record.causes, record.lazy, record.conflicts) = (rest.causes, rest.lazy, rest.conflicts);
        (record.failures, record.last_failure) = (rest.failures, rest.last_failure);
        Some(record)
    }
}

/// The entries whose records cannot be read. They count as absent, so that the next run stores them again, and they
/// stop nothing that is about other entries.
#[derive(Default)]
struct Damaged(HashSet<EntryId>);

impl Damaged {
    /// The fields of a record, unless it is damaged.
    fn left_out<T>(&mut self, id: EntryId, read: Result<T>) -> Option<T> {
        read.inspect_err(|error| {
            log_damaged_record(id, error.report());
            self.0.insert(id);
        })
        .ok()
    }
}

/// A row with the name of its database, for errors.
struct Row<'a, R> {
    row: &'a R,
    database: &'a str,
}

impl<R: Cells> Row<'_, R> {
    fn int(&self, place: usize) -> Result<Option<i64>> {
        self.row.int(place).map_err(|error| failed(error, self.database))
    }

    fn text(&self, place: usize) -> Result<Option<String>> {
        self.row.text(place).map_err(|error| failed(error, self.database))
    }

    fn some_bytes(&self, place: usize, unreadable: &'static str) -> Result<Vec<u8>> {
        let bytes = self.row.bytes(place).map_err(|error| failed(error, self.database))?;
        bytes.ok_or_else(|| corrupt(unreadable))
    }

    /// The epoch of what confirms, if it can be read.
    fn epoch(&self) -> Option<Epoch> {
        let epoch = self.row.bytes(3).ok().flatten().and_then(|bytes| Epoch::from_slice(&bytes).ok());
        if epoch.is_none() {
            log_damaged_epoch(self.database);
        }
        epoch
    }

    fn some_int(&self, place: usize) -> Result<i64> {
        self.int(place)?.ok_or_else(|| corrupt(UNREADABLE))
    }

    fn id(&self) -> Result<EntryId> {
        EntryId::from_slice(&self.some_bytes(3, UNREADABLE)?)
    }

    fn entry(&self) -> Result<StoredEntry> {
        let staleness = match self.some_int(8)? {
            0 => Staleness::Fresh,
            1 => Staleness::MaybeStale,
            2 => Staleness::Stale,
            _ => return Err(corrupt(UNREADABLE_STALENESS)),
        };
        Ok(StoredEntry {
            epochs: Epochs::decode(&self.some_bytes(4, UNREADABLE_EPOCHS)?)
                .ok_or_else(|| corrupt(UNREADABLE_EPOCHS))?,
            meta: self.some_bytes(5, UNREADABLE)?.into(),
            value: self.some_bytes(6, UNREADABLE)?.into(),
            version: count(self.some_int(7)?),
            staleness,
            since: self.int(9)?.map(timestamp),
            stored_at: timestamp(self.some_int(10)?),
            expires: self.int(11)?.map(timestamp),
        })
    }

    fn rest(&self) -> Result<Rest> {
        let causes = decode_causes(&self.text(2)?.unwrap_or_default())
            .map_err(|error| corrupt(UNREADABLE_CAUSES).with_source(error))?;
        let at = self.int(9)?.map(timestamp);
        Ok(Rest {
            call: self.some_bytes(4, UNREADABLE)?.into(),
            used: UsedDependency::decode_edges(&self.some_bytes(5, UNREADABLE_USED)?)
                .ok_or_else(|| corrupt(UNREADABLE_USED))?,
            conflicts: few(self.some_int(7)?),
            causes,
            lazy: self.some_int(10)? != 0,
            failures: few(self.some_int(8)?),
            last_failure: self.text(1)?.zip(at).map(|(message, at)| RunFailure { message, at }),
        })
    }
}

/// Why an entry is stale, as an array of JSON.
pub(crate) fn decode_causes(json: &str) -> serde_json::Result<Vec<Arc<str>>> {
    let causes: Vec<String> = serde_json::from_str(json)?;
    Ok(causes.into_iter().map(Arc::from).collect())
}

/// The same in the other direction.
#[cfg(feature = "sqlite")]
pub(crate) fn encode_causes(causes: &[Arc<str>]) -> String {
    causes.iter().map(|cause| &**cause).collect::<serde_json::Value>().to_string()
}

/// How steps name the way in which a dependency is used.
#[cfg(feature = "postgres")]
pub(crate) fn via_number(via: smache_core::Via) -> i64 {
    use smache_core::Via;
    match via {
        Via::Child => 0,
        Via::Guard => 2,
        // Also a way that is unknown here: an entry that runs once too often is better than one that misses a change.
        _ => 1,
    }
}

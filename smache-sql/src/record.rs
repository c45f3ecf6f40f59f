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
    Dependency, EntryId, Epoch, Epochs, Incarnation, Record, Result, RunFailure, SourceId, SourceValidity, Staleness,
    StoredEntry, Timestamp, UsedDependency, Validity, Via,
};

use crate::{
    cells::{Cells, count, few, timestamp},
    error::{corrupt, failed, wrong_server},
    version::MIGRATED,
};

#[cfg(test)]
mod tests;

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
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "only steps of PostgreSQL read it"))]
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
        let (mut now, mut incarnation, mut revision, mut validity) = (None, None, 0, None::<Validity>);
        let (mut sources, mut damaged) = (Vec::new(), Damaged::default());
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
        let (entry, rest) = (self.entries.remove(id)?, self.rest.remove(id)?);
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
            tracing::warn!(entry = %id, error = %error.report(), "a record that cannot be read is left out");
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
            tracing::warn!(database = self.database, "an epoch that cannot be read is replaced by a new one");
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
            epochs: decode_epochs(&self.some_bytes(4, UNREADABLE_EPOCHS)?).ok_or_else(|| corrupt(UNREADABLE_EPOCHS))?,
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
            used: decode_used(&self.some_bytes(5, UNREADABLE_USED)?).ok_or_else(|| corrupt(UNREADABLE_USED))?,
            conflicts: few(self.some_int(7)?),
            causes,
            lazy: self.some_int(10)? != 0,
            failures: few(self.some_int(8)?),
            last_failure: self.text(1)?.zip(at).map(|(message, at)| RunFailure { message, at }),
        })
    }
}

/// The namespace's epoch, then the length of the name, the name and the epoch of each source.
pub(crate) fn encode_epochs(epochs: &Epochs) -> Vec<u8> {
    let mut bytes = epochs.global.as_bytes().to_vec();
    for (source, epoch) in &epochs.sources {
        // Names have at most 128 bytes.
        bytes.push(u8::try_from(source.as_str().len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(source.as_str().as_bytes());
        bytes.extend_from_slice(epoch.as_bytes());
    }
    bytes
}

pub(crate) fn decode_epochs(bytes: &[u8]) -> Option<Epochs> {
    let (global, mut bytes) = bytes.split_first_chunk()?;
    let mut sources = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let (name, rest) = rest.split_at_checked((*length).into())?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let name = SourceId::new(std::str::from_utf8(name).ok()?).ok()?;
        sources.push((name, Epoch::from_bytes(*epoch)));
        bytes = rest;
    }
    Some(Epochs { global: Epoch::from_bytes(*global), sources })
}

/// Why an entry is stale, as an array of JSON.
pub(crate) fn decode_causes(json: &str) -> serde_json::Result<Vec<Arc<str>>> {
    let causes: Vec<String> = serde_json::from_str(json)?;
    Ok(causes.into_iter().map(Arc::from).collect())
}

/// A used dependency as records keep it: sixteen bytes, and `1` direct or `0` through a child.
const USED: usize = Dependency::LEN + 1;

/// How steps name the way in which a dependency is used.
#[cfg(feature = "postgres")]
pub(crate) fn via_number(via: Via) -> i64 {
    match via {
        Via::Child => 0,
        Via::Guard => 2,
        // Also what is not known here: an entry that runs once too often is better than one that misses a change.
        _ => 1,
    }
}

/// The dependencies that get an edge, each once: `Direct` wins, and a `Guard` is checked but never indexed.
pub(crate) fn edges(used: &[UsedDependency]) -> Vec<(Dependency, bool)> {
    let mut edges: Vec<(Dependency, bool)> = Vec::with_capacity(used.len());
    let mut places = HashMap::with_capacity(used.len());
    for UsedDependency { dependency, via } in used.iter().filter(|used| used.via != Via::Guard) {
        let place = *places.entry(*dependency).or_insert(edges.len());
        if place == edges.len() {
            edges.push((*dependency, *via != Via::Child));
        } else {
            edges[place].1 |= *via != Via::Child;
        }
    }
    edges
}

pub(crate) fn encode_edges(edges: &[(Dependency, bool)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(edges.len() * USED);
    for (dependency, direct) in edges {
        bytes.extend_from_slice(dependency.as_bytes());
        bytes.push(if *direct { b'1' } else { b'0' });
    }
    bytes
}

pub(crate) fn decode_used(bytes: &[u8]) -> Option<Vec<UsedDependency>> {
    let (used, rest) = bytes.as_chunks::<USED>();
    let one = |used: &[u8; USED]| {
        let (dependency, via) = used.split_first_chunk()?;
        let via = match via {
            b"0" => Via::Child,
            b"1" => Via::Direct,
            _ => return None,
        };
        Some(UsedDependency { dependency: Dependency::from_bytes(*dependency), via })
    };
    rest.is_empty().then(|| used.iter().map(one).collect())?
}

/// The dependencies that a conflict names: each once, in order, at most eight.
pub(crate) fn named(conflicts: impl IntoIterator<Item = Dependency>) -> Vec<Dependency> {
    let mut seen = HashSet::new();
    conflicts.into_iter().filter(|dependency| seen.insert(*dependency)).take(8).collect()
}

//! The state of a namespace's store, and the steps that change its records and indexes together.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use smache_core::{
    Dependency, EntryId, FeedId, Position, Record, RegisteredProgram, SourceId, Staleness, StoredEntry, Timestamp,
    Token, UsedDependency, Validity, Via,
    protocol::{Head, Leader, Run},
    support::EdgeChanges,
};

use super::sink::JobSink;

/// The state of a namespace: one partition of the [protocol](smache_core::protocol), with its indexes.
///
/// Every index holds only what the records hold, so that removing a record (and maintenance) leaves no entries in it.
pub(crate) struct Cache {
    pub(super) capacity: usize,
    /// Shared with every look-up, copied when it changes.
    pub(super) validity: Arc<Validity>,
    pub(super) positions: HashMap<SourceId, Position>,
    pub(super) leaders: HashMap<FeedId, Leader>,
    pub(super) programs: BTreeMap<Token, RegisteredProgram>,
    pub(super) revision: u64,
    /// Runs that began before it cannot be validated any more.
    pub(super) low_watermark: u64,
    /// The revision of the last invalidation.
    pub(super) changed: HashMap<Dependency, u64>,
    pub(super) runs: HashMap<EntryId, Run>,
    pub(super) records: HashMap<EntryId, Slot>,
    pub(super) edges: HashMap<Dependency, HashMap<EntryId, Via>>,
    pub(super) expiring: BTreeSet<(Timestamp, EntryId)>,
    pub(super) stale: BTreeSet<EntryId>,
    /// From the least recently stored to the newest.
    pub(super) order: BTreeMap<u64, EntryId>,
    next_order: u64,
    /// Where in `order` the walk over entries of old epochs goes on; `None` when there are none.
    pub(super) sweep: Option<u64>,
}

/// A record.
pub(crate) struct Entry {
    pub(super) head: Head,
    pub(super) value: Bytes,
    pub(super) meta: Bytes,
    pub(super) call: Bytes,
    pub(super) used: Vec<UsedDependency>,
}

impl Entry {
    pub(super) fn stored(&self) -> StoredEntry {
        self.head.entry(self.value.clone(), self.meta.clone())
    }

    pub(super) fn record(&self) -> Record {
        self.head.record(self.value.clone(), self.meta.clone(), self.call.clone(), self.used.clone())
    }
}

/// A record and its place among the others.
pub(crate) struct Slot {
    pub(super) entry: Entry,
    pub(super) order: u64,
    /// Whether it was read since it took its place: then it gets a second chance.
    pub(super) read: bool,
}

impl Cache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            validity: Arc::new(Validity::new(smache_core::Epoch::random())),
            positions: HashMap::new(),
            leaders: HashMap::new(),
            programs: BTreeMap::new(),
            revision: 0,
            low_watermark: 0,
            changed: HashMap::new(),
            runs: HashMap::new(),
            records: HashMap::new(),
            edges: HashMap::new(),
            expiring: BTreeSet::new(),
            stale: BTreeSet::new(),
            order: BTreeMap::new(),
            next_order: 0,
            sweep: None,
        }
    }

    pub(crate) fn validity(&self) -> Arc<Validity> {
        Arc::clone(&self.validity)
    }

    /// Replaces a record, with its edges and its places in the indexes.
    pub(super) fn put(&mut self, id: EntryId, entry: Entry, sink: &mut JobSink<'_>) {
        let old = self.records.remove(&id);
        if let Some(slot) = &old {
            self.order.remove(&slot.order);
            if let Some(expires) = slot.entry.head.expires {
                self.expiring.remove(&(expires, id));
            }
        }
        let old_edges = old.as_ref().map_or(&[][..], |slot| &slot.entry.used);
        let changes = EdgeChanges::between(old_edges, &entry.used);
        for dependency in &changes.removed {
            self.remove_edge(dependency, &id);
        }
        for used in changes.written {
            self.edges.entry(used.dependency).or_default().insert(id, used.via);
        }
        if let Some(expires) = entry.head.expires {
            self.expiring.insert((expires, id));
        }
        if entry.head.staleness == Staleness::Fresh {
            self.stale.remove(&id);
        } else {
            self.stale.insert(id);
        }
        let order = self.take_order();
        if !id.is_announcement() {
            self.order.insert(order, id);
        }
        self.records.insert(id, Slot { entry, order, read: false });
        while self.records.len() > self.capacity && self.evict_one(&id, sink) {}
    }

    fn take_order(&mut self) -> u64 {
        self.next_order += 1;
        self.next_order
    }

    /// Removes the entry that was stored least recently among those that were not read since their turn last came.
    /// Returns whether there is one.
    fn evict_one(&mut self, newest: &EntryId, sink: &mut JobSink<'_>) -> bool {
        while let Some((_, id)) = self.order.pop_first() {
            let alone = self.order.is_empty();
            let order = self.take_order();
            match self.records.get_mut(&id) {
                // Otherwise a store full of read entries would evict the one that it has just stored.
                Some(slot) if slot.read || id == *newest => {
                    slot.read = false;
                    slot.order = order;
                    self.order.insert(order, id);
                    if alone && id == *newest {
                        return false;
                    }
                }
                _ => {
                    self.forget(&id, sink);
                    return true;
                }
            }
        }
        false
    }

    /// Removes a record with its edges and places, but not its run, which may still store a value.
    pub(super) fn forget(&mut self, id: &EntryId, sink: &mut JobSink<'_>) -> bool {
        let Some(slot) = self.records.remove(id) else { return false };
        for used in &slot.entry.used {
            self.remove_edge(&used.dependency, id);
        }
        if let Some(expires) = slot.entry.head.expires {
            self.expiring.remove(&(expires, *id));
        }
        self.stale.remove(id);
        self.order.remove(&slot.order);
        sink.take_back(id);
        true
    }

    fn remove_edge(&mut self, dependency: &Dependency, id: &EntryId) {
        if let Some(dependants) = self.edges.get_mut(dependency) {
            dependants.remove(id);
            if dependants.is_empty() {
                self.edges.remove(dependency);
            }
        }
    }
}

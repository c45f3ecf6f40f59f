//! The state of a namespace's store, and the steps that change its records and indexes together.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use smache_core::{
    Dependency, EntryId, FeedId, Lane, Position, Record, RegisteredProgram, SourceId, Staleness, Timestamp, Token,
    Validity, Via, support::EdgeChanges,
};

use super::{feeds::Leader, sink::JobSink, waits::Note};

/// The state of a namespace. The letters are those of `PROTOCOL.md` where they name the same thing.
///
/// Every index holds only what the records hold, so that removing a record (and maintenance) leaves no entries in it.
pub(crate) struct Cache {
    pub(super) capacity: usize,
    /// `E` and the leases of `W`: shared with every look-up, copied when it changes.
    pub(super) validity: Arc<Validity>,
    /// The positions of `W`.
    pub(super) positions: HashMap<SourceId, Position>,
    pub(super) leaders: HashMap<FeedId, Leader>,
    pub(super) programs: BTreeMap<Token, RegisteredProgram>,
    /// `K`.
    pub(super) revision: u64,
    /// Runs that began before it cannot be validated any more.
    pub(super) low_watermark: u64,
    /// `N`.
    pub(super) changed: HashMap<Dependency, u64>,
    /// `R`.
    pub(super) runs: HashMap<EntryId, Run>,
    pub(super) records: HashMap<EntryId, Slot>,
    /// `D`.
    pub(super) edges: HashMap<Dependency, HashMap<EntryId, Via>>,
    pub(super) expiring: BTreeSet<(Timestamp, EntryId)>,
    pub(super) stale: BTreeSet<EntryId>,
    /// From the least recently stored to the newest.
    pub(super) order: BTreeMap<u64, EntryId>,
    next_order: u64,
    /// Where in `order` the walk over entries of old epochs goes on; `None` when there are none.
    pub(super) sweep: Option<u64>,
}

/// A computation under way.
pub(crate) struct Run {
    pub(super) token: Token,
    pub(super) start_revision: u64,
    pub(super) until: Timestamp,
    /// The waits of the run, the newest last.
    pub(super) waits: Vec<Note>,
}

/// A record and its place among the others.
pub(crate) struct Slot {
    pub(super) record: Record,
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
    pub(super) fn put(&mut self, id: EntryId, record: Record, sink: &mut JobSink<'_>) {
        let old = self.records.remove(&id);
        if let Some(slot) = &old {
            self.order.remove(&slot.order);
            if let Some(expires) = slot.record.entry.expires {
                self.expiring.remove(&(expires, id));
            }
        }
        let old_edges = old.as_ref().map_or(&[][..], |slot| &slot.record.used);
        let changes = EdgeChanges::between(old_edges, &record.used);
        for dependency in &changes.removed {
            self.remove_edge(dependency, &id);
        }
        for used in changes.written {
            self.edges.entry(used.dependency).or_default().insert(id, used.via);
        }
        if let Some(expires) = record.entry.expires {
            self.expiring.insert((expires, id));
        }
        if record.entry.staleness == Staleness::Fresh {
            self.stale.remove(&id);
        } else {
            self.stale.insert(id);
        }
        let order = self.take_order();
        if !id.is_announcement() {
            self.order.insert(order, id);
        }
        self.records.insert(id, Slot { record, order, read: false });
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
        for used in &slot.record.used {
            self.remove_edge(&used.dependency, id);
        }
        if let Some(expires) = slot.record.entry.expires {
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

    /// The lane for the entry's job, if it is stale and not left to its readers.
    pub(super) fn lane_of_need(&self, record: &Record) -> Option<Lane> {
        if record.lazy { None } else { self.validity.lane_of_need(record.entry.staleness, &record.entry.epochs) }
    }
}

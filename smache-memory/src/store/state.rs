//! What a store knows, and the steps on single entries.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use smache_core::{
    Begin, BeginOutcome, Begun, Dependants, Dependency, EntryId, Error, ErrorKind, FeedId, Incarnation, Lane, Page,
    Position, Record, RegisteredProgram, Result, Scanned, SourceId, Staleness, StoreStats, StoredEntry, Timestamp,
    Token, Validity, Via,
};

use super::{feeds::Leader, sink::JobSink, waits::Note};

/// The state of a namespace. The letters of `PROTOCOL.md` are given where they name the same thing.
///
/// Every index holds only what the records hold, so that removing a record (and maintenance) leaves nothing behind.
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
    /// Runs from before cannot be validated any more.
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
    /// What it waits for, the newest last.
    pub(super) waits: Vec<Note>,
}

/// A record and its place among the others.
pub(crate) struct Slot {
    pub(super) record: Record,
    pub(super) order: u64,
    /// Whether it was read since it took its place: it gets a second chance then.
    read: bool,
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

    /// Reads an entry. The mark for the eviction is nobody's data: a look-up still writes nothing.
    pub(crate) fn read(&mut self, id: &EntryId) -> Option<StoredEntry> {
        let slot = self.records.get_mut(id)?;
        slot.read = true;
        Some(slot.record.entry.clone())
    }

    pub(crate) fn begin(&mut self, begin: &Begin, incarnation: &Incarnation, now: Timestamp) -> BeginOutcome {
        let mut start_revision = self.revision;
        if let Some(run) = self.runs.get(&begin.id) {
            if run.token == begin.token {
                start_revision = run.start_revision;
            } else if run.until > now {
                return BeginOutcome::Busy { remaining: run.until.since(now) };
            }
        }
        let until = now.after(begin.lease);
        self.runs.insert(begin.id, Run { token: begin.token, start_revision, until, waits: Vec::new() });
        let entry = self.read(&begin.id);
        let record = self.records.get(&begin.id).map(|slot| &slot.record);
        BeginOutcome::Begun(Box::new(Begun {
            start_revision,
            now,
            incarnation: incarnation.clone(),
            validity: Arc::clone(&self.validity),
            entry,
            call: record.map(|record| record.call.clone()),
            used: record.map(|record| record.used.clone()).unwrap_or_default(),
            conflicts: record.map_or(0, |record| record.conflicts),
            // An invalidation is one step here.
            pending: false,
        }))
    }

    /// Whether a token holds the run of an entry. A lapsed lease that nobody took counts.
    pub(super) fn holds(&self, id: &EntryId, token: Token) -> bool {
        self.runs.get(id).is_some_and(|run| run.token == token)
    }

    pub(crate) fn extend(&mut self, id: &EntryId, token: Token, until: Timestamp) -> bool {
        match self.runs.get_mut(id) {
            Some(run) if run.token == token => {
                run.until = until;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn remove(&mut self, id: &EntryId, token: Option<Token>, sink: &mut JobSink<'_>) -> bool {
        if token.is_some_and(|token| !self.holds(id, token)) {
            return false;
        }
        let run = self.runs.remove(id).is_some();
        let record = self.forget(id, sink);
        if !record {
            sink.take_back(id);
        }
        run || record
    }

    /// Puts a record in the place of the one before, with its edges and its places in the indexes.
    pub(super) fn put(&mut self, id: EntryId, record: Record, sink: &mut JobSink<'_>) {
        let old = self.records.remove(&id);
        if let Some(slot) = &old {
            self.order.remove(&slot.order);
            if let Some(expires) = slot.record.entry.expires {
                self.expiring.remove(&(expires, id));
            }
        }
        if old.as_ref().is_none_or(|slot| slot.record.used != record.used) {
            for used in old.iter().flat_map(|slot| &slot.record.used) {
                self.remove_edge(&used.dependency, &id);
            }
            for used in &record.used {
                self.edges.entry(used.dependency).or_default().insert(id, used.via);
            }
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
    /// Whether there is one.
    fn evict_one(&mut self, newest: &EntryId, sink: &mut JobSink<'_>) -> bool {
        while let Some((_, id)) = self.order.pop_first() {
            let alone = self.order.is_empty();
            let order = self.take_order();
            match self.records.get_mut(&id) {
                // Else a store full of read entries would evict the one that it has just taken.
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

    /// Removes a record with everything of its, but the run: whoever computes the entry may still store it.
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

    /// The lane in which an entry has to be computed, if it does and is not left to its readers.
    pub(super) fn lane_of_need(&self, record: &Record) -> Option<Lane> {
        match record.entry.staleness {
            _ if record.lazy => None,
            Staleness::Stale => Some(Lane::Recompute),
            _ if !self.validity.has_epochs(&record.entry.epochs) => Some(Lane::Recompute),
            Staleness::MaybeStale => Some(Lane::Propagation),
            Staleness::Fresh => None,
        }
    }

    pub(crate) fn record(&self, id: &EntryId) -> Option<Record> {
        self.records.get(id).map(|slot| slot.record.clone())
    }

    pub(crate) fn stale(&self, page: &Page) -> Result<Scanned> {
        let after = page.cursor.as_ref().map(|cursor| cursor_id(cursor)).transpose()?;
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let mut walk = self.stale.range((from, std::ops::Bound::Unbounded));
        let mut last = None;
        let mut entries = Vec::new();
        for id in walk.by_ref().take(page.limit.max(1)) {
            last = Some(id);
            if let Some(record) = self.records.get(id).map(|slot| &slot.record)
                && !record.lazy
            {
                entries.push((*id, record.entry.since.unwrap_or(record.entry.stored_at)));
            }
        }
        let next = if walk.next().is_some() { last.map(|id| id.as_bytes().to_vec().into()) } else { None };
        Ok(Scanned { entries, next })
    }

    pub(crate) fn dependants(&self, dependency: &Dependency, page: &Page) -> Result<Dependants> {
        let after = page.cursor.as_ref().map(|cursor| cursor_id(cursor)).transpose()?;
        let edges = self.edges.get(dependency).into_iter().flatten();
        let mut entries: Vec<(EntryId, Via)> =
            edges.map(|(id, via)| (*id, *via)).filter(|(id, _)| after.is_none_or(|after| *id > after)).collect();
        entries.sort_unstable_by_key(|(id, _)| *id);
        let more = entries.len() > page.limit.max(1);
        entries.truncate(page.limit.max(1));
        let next = entries.last().filter(|_| more).map(|(id, _)| id.as_bytes().to_vec().into());
        Ok(Dependants { entries, next })
    }

    pub(crate) fn stats(&self) -> StoreStats {
        let mut stats = StoreStats::default();
        stats.entries = self.records.len() as u64;
        stats.stale = self.stale.len() as u64;
        stats.running = self.runs.len() as u64;
        stats.revision = self.revision;
        stats.invalidations = self.changed.len() as u64;
        stats
    }
}

/// The id in a cursor, which came from outside.
pub(crate) fn cursor_id(cursor: &[u8]) -> Result<EntryId> {
    EntryId::from_slice(cursor).map_err(|error| {
        let message = "a cursor is not one that a listing of this backend answered: start without one";
        Error::new(ErrorKind::Argument, message).with_source(error)
    })
}

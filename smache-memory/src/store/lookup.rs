//! Look-ups and listings: steps that only read.

use smache_core::{Dependants, Dependency, EntryId, Page, Record, Result, Scanned, StoreStats, StoredEntry, Via};

use super::Cache;

impl Cache {
    /// Reads an entry. The mark for the eviction is no data: a look-up still writes nothing.
    pub(crate) fn read(&mut self, id: &EntryId) -> Option<StoredEntry> {
        let slot = self.records.get_mut(id)?;
        slot.read = true;
        Some(slot.entry.stored())
    }

    pub(crate) fn record(&self, id: &EntryId) -> Option<Record> {
        self.records.get(id).map(|slot| slot.entry.record())
    }

    pub(crate) fn stale(&self, page: &Page) -> Result<Scanned> {
        let after = page.after()?;
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let mut walk = self.stale.range((from, std::ops::Bound::Unbounded));
        let mut last = None;
        let mut entries = Vec::new();
        for id in walk.by_ref().take(page.limit.max(1)) {
            last = Some(id);
            if let Some(head) = self.records.get(id).map(|slot| &slot.entry.head)
                && !head.lazy
            {
                entries.push((*id, head.since.unwrap_or(head.stored_at)));
            }
        }
        let next = if walk.next().is_some() { last.map(|id| id.as_bytes().to_vec().into()) } else { None };
        Ok(Scanned { entries, next })
    }

    pub(crate) fn dependants(&self, dependency: &Dependency, page: &Page) -> Result<Dependants> {
        let after = page.after()?;
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

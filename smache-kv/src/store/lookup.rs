//! Look-ups and listings: steps that only read.

use bytes::Bytes;
use smache_core::{
    Dependants, Dependency, EntryId, FullRecord, Lookup, Page, Positions, Result, Scanned, SourceId, StoreStats,
    Timestamp,
};

use super::record::edge_via;
use crate::{codec::number, keys::Role, step::Step};

impl Step<'_> {
    pub(super) async fn lookup(&mut self, ids: &[EntryId]) -> Result<Lookup> {
        let keys = self.keys();
        let parts = ids.iter().flat_map(|id| [Role::Head, Role::Body].map(|role| keys.entry(role, id)));
        self.prefetch(parts.chain(self.validity_keys())).await?;
        let mut entries = Vec::with_capacity(ids.len());
        for id in ids {
            entries.push(self.entry(id).await?);
        }
        let validity = self.validity_with_attached().await?.into();
        Ok(Lookup { now: self.now, incarnation: self.incarnation.clone(), validity, entries })
    }

    pub(super) async fn read_record(&mut self, id: &EntryId) -> Result<FullRecord> {
        self.prefetch(self.record_keys(id).into_iter().chain(self.validity_keys())).await?;
        let record = self.record(id).await?;
        let validity = self.validity_with_attached().await?.into();
        Ok(FullRecord { now: self.now, incarnation: self.incarnation.clone(), validity, record })
    }

    pub(super) async fn saved(&mut self, sources: &[SourceId]) -> Result<Positions> {
        Ok(Positions { positions: self.positions(sources).await?, incarnation: self.incarnation.clone() })
    }

    /// By the time since when: an entry that stays stale keeps its place.
    pub(super) async fn stale(&mut self, page: &Page) -> Result<Scanned> {
        let limit = page.limit.max(1);
        let range = self.keys().range(Role::Stale, &[]).after(page.cursor.as_deref(), 8 + EntryId::LEN)?;
        let found = self.scan(&range, limit).await?;
        let mut entries = Vec::with_capacity(found.len());
        for (key, lazy) in &found {
            let Some((id, since)) = self.listed(key).zip(number(self.keys().rest(key))) else { continue };
            // A damaged entry is listed: an extra job does no harm.
            if lazy.first() != Some(&1) {
                entries.push((id, Timestamp::from_millis(since)));
            }
        }
        Ok(Scanned { entries, next: self.cursor(&found, limit, 0) })
    }

    pub(super) async fn dependants(&mut self, dependency: &Dependency, page: &Page) -> Result<Dependants> {
        let limit = page.limit.max(1);
        let range = self.keys().range(Role::Edge, &[dependency.as_bytes()]);
        let found = self.scan(&range.after(page.cursor.as_deref(), EntryId::LEN)?, limit).await?;
        let mut entries = Vec::with_capacity(found.len());
        for (key, via) in &found {
            entries.extend(self.listed(key).map(|id| (id, edge_via(via))));
        }
        Ok(Dependants { entries, next: self.cursor(&found, limit, Dependency::LEN) })
    }

    /// Where the page behind a full one starts: the last key without its first bytes.
    pub(crate) fn cursor(&self, found: &[(Bytes, Bytes)], limit: usize, skip: usize) -> Option<Bytes> {
        let (last, _) = found.last().filter(|_| found.len() >= limit)?;
        self.keys().rest(last).get(skip..).map(Bytes::copy_from_slice)
    }

    pub(super) async fn stats(&mut self) -> Result<StoreStats> {
        let revision = self.revision().await?;
        Ok(self.counts_now().await?.stats(revision))
    }
}

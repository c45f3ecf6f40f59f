//! Removes what was stored least recently where a store has more entries than its capacity.

use bytes::Bytes;
use smache_core::{EntryId, Result, Token};

use crate::{area::SharedArea, codec::number, keys::Role, step::Step};

/// The most entries that a step removes.
const EVICTED: usize = 256;

/// How many entries that are needed may be older than the ones that a step removes.
const SPARED: usize = 64;

/// The share of the capacity that is removed beyond what is above it, so that not every commit removes an entry.
const SLACK: usize = 64;

/// The most entries that get a place in the index, in a namespace that had no capacity before.
const PLACED: usize = 256;

/// Removes up to so many entries above the capacity. `newest` was just stored. Returns whether there is more to do.
pub(super) async fn evict(area: &SharedArea, limit: usize, newest: Option<EntryId>) -> Result<bool> {
    let Some(capacity) = area.capacity else { return Ok(false) };
    // Not in the step that removes: it would conflict with every step that adds an entry.
    let entries = area.read(|step| Box::pin(async { Ok(step.counts_now().await?.entries) })).await?;
    area.shared.counts.set_entries(entries);
    let above = usize::try_from(entries).unwrap_or_default().saturating_sub(capacity);
    if above == 0 {
        return Ok(false);
    }
    let all = above + (capacity / SLACK).min(EVICTED);
    let most = all.min(limit).min(EVICTED);
    let evicted = area.write(|step| Box::pin(step.evict(most, newest))).await?;
    Ok(evicted > 0 && evicted < all)
}

/// The same after a commit, if this process knows of too many entries. The commit has succeeded in any case.
pub(super) async fn evict_after_commit(area: &SharedArea, newest: EntryId) {
    let above = |capacity| i64::try_from(capacity).is_ok_and(|capacity| area.shared.counts.entries() > capacity);
    if area.capacity.is_some_and(above)
        && let Err(error) = evict(area, EVICTED, Some(newest)).await
    {
        tracing::debug!(error = %error.report(), "maintenance removes what is above the capacity");
    }
}

impl Step<'_> {
    /// Removes up to so many entries, the ones that were stored least recently first. Entries under computation and
    /// announcements of changes are needed and stay. Returns how many went.
    async fn evict(&mut self, most: usize, newest: Option<EntryId>) -> Result<usize> {
        let keys = self.keys();
        let most = self.within_limits(most);
        let page = self.scan(&keys.range(Role::Stored, &[]), most + SPARED).await?;
        let ids: Vec<EntryId> = page.iter().filter_map(|(key, _)| keys.id_of(key)).collect();
        let parts = [Role::Run, Role::Head, Role::Lineage];
        self.prefetch(ids.iter().flat_map(|id| parts.map(|role| keys.entry(role, id)))).await?;
        self.prefetch_jobs(&ids).await?;
        let mut evicted = 0;
        for (key, _) in &page {
            if evicted == most {
                break;
            }
            let Some(id) = self.listed(key) else { continue };
            let stored_at = self.head(&id).await?.map(|head| head.stored_at.as_millis());
            if stored_at.is_none() || stored_at != number(keys.rest(key)) {
                // The place of an entry that a program without a capacity has replaced or removed.
                self.delete(key.clone());
                continue;
            }
            let runs = self.run(&id).await?.is_some_and(|run| run.holds(self.now));
            if !runs && !id.is_announcement() && newest != Some(id) {
                self.forget(&id).await?;
                evicted += 1;
            }
        }
        if evicted < most {
            self.place_some().await?;
        }
        Ok(evicted)
    }

    /// Gives some entries their places: those that a program without a capacity has stored have none.
    async fn place_some(&mut self) -> Result<()> {
        let keys = self.keys();
        let mut range = keys.range(Role::Head, &[]);
        let first = range.from.clone();
        let [a, b, ..] = *Token::random().as_bytes();
        // From a random place on, so that later calls come to others.
        range.from = keys.of(Role::Head, &[&[a, b]]);
        let limit = self.within_limits(PLACED);
        let mut page = self.scan(&range, limit).await?;
        if page.len() < limit {
            (range.to, range.from) = (range.from, first);
            page.extend(self.scan(&range, limit - page.len()).await?);
        }
        for (key, _) in &page {
            let Some(id) = self.listed(key) else { continue };
            if let Some(head) = self.head(&id).await? {
                let place: Bytes = keys.index(Role::Stored, head.stored_at.as_millis(), &id);
                self.put(place, Vec::new());
            }
        }
        Ok(())
    }
}

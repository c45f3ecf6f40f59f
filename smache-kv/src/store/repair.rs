//! Edges and places in the indexes that belong to no record any more, after a record was damaged.

use smache_core::{EntryId, Maintained, Result};

use crate::{keys::Role, step::Step};

/// The roles that are walked, in the order of the keys. All of their keys end with the entry.
const WALKED: [Role; 3] = [Role::Edge, Role::Expiry, Role::Stale];

impl Step<'_> {
    /// A record was damaged: the walk starts over.
    pub(super) fn start_repair(&mut self) {
        self.repairs = true;
        self.put(self.keys().of(Role::Repair, &[]), Vec::new());
    }

    /// Removes places without a record, page by page. Present records and those that are stored meanwhile stay
    /// unchanged.
    pub(super) async fn repair(&mut self, limit: usize, done: &mut Maintained) -> Result<()> {
        let keys = self.keys();
        let place = self.keys().of(Role::Repair, &[]);
        let Some(last) = self.get(&place).await? else { return Ok(()) };
        for role in WALKED {
            let mut range = keys.range(role, &[]);
            if range.to <= last {
                continue;
            }
            if range.from <= last {
                range.after_key(&last);
            }
            let page = self.scan(&range, limit).await?;
            let mut listed: Vec<(_, EntryId)> = Vec::with_capacity(page.len());
            for (key, _) in &page {
                listed.extend(self.listed(key).map(|id| (key.clone(), id)));
            }
            let part = if role == Role::Edge { Role::Lineage } else { Role::Head };
            self.prefetch(listed.iter().map(|(_, id)| keys.entry(part, id))).await?;
            for (key, id) in listed {
                let known = if role == Role::Edge {
                    let used = self.lineage(&id).await?.map(|lineage| lineage.used).unwrap_or_default();
                    used.iter().any(|used| self.edge(&used.dependency, &id) == key)
                } else {
                    self.head(&id).await?.is_some_and(|head| self.is_listed(&id, &head, &key))
                };
                if !known {
                    self.delete(key);
                }
            }
            // The step met another damaged record, whose places may be behind the walk.
            done.more |= page.len() == limit || self.repairs;
            if self.repairs {
                return Ok(());
            }
            if let Some((key, _)) = page.last().filter(|_| page.len() == limit) {
                self.put(place, key.clone());
                return Ok(());
            }
        }
        self.delete(place);
        Ok(())
    }
}

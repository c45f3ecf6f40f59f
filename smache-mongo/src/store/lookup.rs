//! Reads: one command for the namespace and then the entries.

use std::collections::HashMap;

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use smache_core::{
    Dependants, Dependency, EntryId, FullRecord, Lookup, Page, Result, Scanned, StoreStats, StoredEntry, Via,
    support::{count, limits::PAGE},
};

use super::Inner;
use crate::{
    job::id_of,
    keys::ENTRIES,
    namespace::{and, look},
    record::{Fields, entry, entry_fields, readable, record},
};

/// The most entries in one command: some servers look a long list up in quadratic time.
const IDS: usize = 100;

const UNREADABLE: &str = "a document of `smache_entries` cannot be read: remove it";

impl Inner {
    pub(super) async fn look_up(&self, ids: &[EntryId]) -> Result<Lookup> {
        let mut found = HashMap::with_capacity(ids.len());
        let mut pieces = ids.chunks(IDS);
        let asked = |ids: &[EntryId]| {
            let keys: Vec<_> = ids.iter().map(|id| self.keys.entry(id)).collect();
            doc! { "_id": { "$in": keys } }
        };
        let more = pieces.next().map(|ids| {
            let entries = vec![doc! { "$match": asked(ids) }, doc! { "$project": entry_fields() }];
            vec![and(ENTRIES, entries)]
        });
        let seen = look(&self.link, &self.keys, "lookup", more.unwrap_or_default()).await?;
        collect(&seen.more, &mut found);
        // Entries that are read later than the namespace are safe.
        for ids in pieces {
            let reading = async {
                let found = self.link.entries.find(asked(ids)).projection(entry_fields()).await?;
                found.try_collect::<Vec<Document>>().await
            };
            collect(&self.link.run("lookup", reading).await?, &mut found);
        }
        // A caller may ask for an id twice.
        let entries = ids.iter().map(|id| found.get(id).cloned()).collect();
        let validity = seen.namespace.validity();
        Ok(Lookup { now: seen.namespace.now, incarnation: seen.namespace.incarnation, validity, entries })
    }

    pub(super) async fn read_full_record(&self, id: &EntryId) -> Result<FullRecord> {
        let more = vec![and(ENTRIES, vec![doc! { "$match": { "_id": self.keys.entry(id) } }])];
        let seen = look(&self.link, &self.keys, "read_record", more).await?;
        let record = seen.more.first().map(record).transpose()?.flatten();
        let validity = seen.namespace.validity();
        Ok(FullRecord { now: seen.namespace.now, incarnation: seen.namespace.incarnation, validity, record })
    }

    pub(super) async fn stale_page(&self, page: &Page) -> Result<Scanned> {
        let after = page.after()?;
        let limit = page.limit.clamp(1, PAGE);
        let reading = async {
            let found = self
                .link
                .entries
                .find(doc! { "n": self.keys.number, "is_stale": true, "_id": self.keys.after(after.as_ref()) })
                .projection(doc! { "since": 1, "stored": 1, "lazy": 1 })
                .sort(doc! { "_id": 1 })
                .limit(limit as i64 + 1);
            found.await?.try_collect::<Vec<Document>>().await
        };
        let mut found = self.link.run("stale", reading).await?;
        let next = next_page(&mut found, limit)?;
        // Lazy ones count for the page, so that every page ends.
        let due = found.iter().filter(|document| document.get_bool("lazy") == Ok(false));
        let one = |document: &Document| {
            let fields = Fields::new(document, UNREADABLE);
            Ok((id_of(document)?, fields.time("since").or(fields.time("stored")).unwrap_or_default()))
        };
        Ok(Scanned { entries: due.map(one).collect::<Result<_>>()?, next })
    }

    pub(super) async fn dependants_page(&self, dependency: &Dependency, page: &Page) -> Result<Dependants> {
        let after = page.after()?;
        let limit = page.limit.clamp(1, PAGE);
        let direct = self.keys.edge(dependency, true);
        let either = vec![self.keys.edge(dependency, false), direct.clone()];
        let reading = async {
            let found = self
                .link
                .entries
                .find(doc! { "deps": { "$in": either }, "_id": self.keys.after(after.as_ref()), "n": self.keys.number })
                .projection(doc! { "direct": { "$in": [direct, "$deps"] } })
                .sort(doc! { "_id": 1 })
                .limit(limit as i64 + 1);
            found.await?.try_collect::<Vec<Document>>().await
        };
        let mut found = self.link.run("dependants", reading).await?;
        let next = next_page(&mut found, limit)?;
        let one = |document: &Document| {
            let direct = document.get_bool("direct").unwrap_or(true);
            Ok((id_of(document)?, if direct { Via::Direct } else { Via::Child }))
        };
        Ok(Dependants { entries: found.iter().map(one).collect::<Result<_>>()?, next })
    }

    pub(super) async fn numbers(&self) -> Result<StoreStats> {
        let namespace = self.keys.number;
        let entries = &self.link.entries;
        let state = &self.link.state;
        let counted =
            async |filter: Document| self.link.run_long("stats", async { entries.count_documents(filter).await }).await;
        let changes = async {
            let distinct = vec![
                // A change that is under way has no revision yet.
                doc! { "$match": { "n": namespace, "k": { "$lt": i64::MAX } } },
                doc! { "$unwind": "$deps" },
                doc! { "$group": { "_id": "$deps" } },
                doc! { "$count": "all" },
            ];
            let reading = async { state.aggregate(distinct).await?.try_next().await };
            let found = self.link.run_long("stats", reading).await?;
            Ok(found.and_then(|found| Fields::new(&found, UNREADABLE).maybe_int("all")).map_or(0, count))
        };
        let (seen, records, stale, running, invalidations) = tokio::try_join!(
            look(&self.link, &self.keys, "stats", Vec::new()),
            counted(doc! { "n": namespace }),
            counted(doc! { "n": namespace, "is_stale": true }),
            counted(doc! { "run.n": namespace }),
            changes,
        )?;
        let mut stats = StoreStats::default();
        (stats.entries, stats.stale, stats.running) = (records, stale, running);
        (stats.revision, stats.invalidations) = (seen.namespace.revision, invalidations);
        Ok(stats)
    }
}

/// Collects the readable entries. A damaged one counts as absent, and is computed again.
fn collect(documents: &[Document], found: &mut HashMap<EntryId, StoredEntry>) {
    let one = |document| {
        let entry = readable(document, entry(document))??;
        Some((readable(document, id_of(document))?, entry))
    };
    found.extend(documents.iter().filter_map(one));
}

/// A document beyond the limit means that there is another page.
pub(crate) fn next_page(found: &mut Vec<Document>, limit: usize) -> Result<Option<bytes::Bytes>> {
    let more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| more).map(id_of).transpose()?;
    Ok(last.map(|id| bytes::Bytes::copy_from_slice(id.as_bytes())))
}

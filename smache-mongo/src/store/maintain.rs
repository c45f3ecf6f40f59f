//! Maintenance: expired entries, lapsed runs, changes that no run needs, old epochs, unfinished invalidations.

use std::{collections::BTreeMap, time::Duration};

use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use smache_core::{
    Dependency, EntryId, Maintained, Result, Timestamp,
    support::{
        NEW_EPOCH, count,
        limits::{PAGE, REAP_AFTER},
    },
};

use super::{Inner, invalidate::nonce, runs::Running};
use crate::{
    damage::{Damage, heal},
    error::corrupt,
    expression::{all, cond, has_record, keep, literal, noted, now, number, tidy, time, when},
    job::{self, id_of},
    keys::{ENTRIES, binary, changed_of, entry_of},
    namespace::{NamespaceDoc, Sweep, and, read},
    record::{Fields, has_record as holds_record, readable, readable_state},
};

/// How many unfinished invalidations one piece of maintenance redoes.
const REDONE: i64 = 100;

/// The most entries in one update.
const IDS: usize = 100;

/// How many unreadable runs may sort before the lapsed ones.
const UNREADABLE_ROOM: i64 = 100;

const UNREADABLE: &str = "the bookkeeping of maintenance cannot be read: remove the document from `smache_state`";

impl Inner {
    pub(super) async fn run_maintenance(&self, limit: usize) -> Result<Maintained> {
        let limit = limit.clamp(1, PAGE);
        let mut done = Maintained::default();
        let namespace = self.reap(limit, &mut done).await?;
        if namespace.damage != Damage::None {
            heal(&self.link, &self.keys, namespace.damage).await?;
            done.more = true;
            return Ok(Maintained { jobs: self.reported(done.jobs), ..done });
        }
        self.expire(limit, namespace.now, &mut done).await?;
        self.trim(limit, &namespace, &mut done).await?;
        self.sweep(limit, &namespace, &mut done).await?;
        self.redo_unfinished(namespace.now, &mut done).await?;
        done.jobs.sort_unstable();
        done.jobs.dedup();
        done.jobs = self.reported(done.jobs);
        Ok(done)
    }

    fn runs(&self, projection: Document) -> Vec<Document> {
        vec![doc! { "$match": { "run.n": self.keys.number } }, doc! { "$project": projection }]
    }

    /// Ends the runs of vanished workers. A stale entry then needs a job.
    async fn reap(&self, limit: usize, done: &mut Maintained) -> Result<NamespaceDoc> {
        let fields = doc! { "n": 1, "run": 1, "stale": 1, "lazy": 1, "epochs": 1 };
        let mut lapsed = self.runs(fields);
        lapsed.extend([doc! { "$sort": { "run.until": 1 } }, doc! { "$limit": limit as i64 + 1 + UNREADABLE_ROOM }]);
        // The whole namespace: maintenance rewrites its unreadable parts too.
        let seen = read(&self.link, &self.keys, "maintain", vec![and(ENTRIES, lapsed)]).await?;
        let run_of = |entry: &Document| {
            let run = readable_state(entry, Running::of(entry))?
                .filter(|run| run.until.after(REAP_AFTER) < seen.namespace.now);
            Some((readable(entry, id_of(entry))?, run?))
        };
        let mut over: Vec<_> = seen.more.iter().filter_map(|entry| Some((entry, run_of(entry)?))).collect();
        done.more |= over.len() > limit;
        over.truncate(limit);
        for (entry, (id, run)) in over {
            let filter = doc! {
                "_id": self.keys.entry(&id), "run.token": binary(run.token.as_bytes()), "run.until": time(run.until),
            };
            if !self.end_run("maintain", filter, entry, &seen.namespace, None, Duration::ZERO).await? {
                continue;
            }
            done.reaped += 1;
            let outdated =
                || entry.get_binary_generic("epochs").is_ok_and(|epochs| seen.namespace.validity().is_outdated(epochs));
            let stale = Fields::new(entry, UNREADABLE).maybe_int("stale").is_some_and(|level| level > 0);
            if holds_record(entry) && entry.get_bool("lazy") != Ok(true) && (stale || outdated()) {
                done.jobs.push(id);
            }
        }
        Ok(seen.namespace)
    }

    /// Removes expired entries, and documents with nothing in them. A run keeps its entry: readers see the value until
    /// the run replaces it.
    async fn expire(&self, limit: usize, now: Timestamp, done: &mut Maintained) -> Result<()> {
        let filter = doc! { "end.n": self.keys.number, "end.at": { "$lte": time(now) } };
        let fields = doc! { "n": 1, "run.until": 1, "next.n": 1, "job.s": 1 };
        let reading = async {
            let found = self.link.entries.find(filter).projection(fields).sort(doc! { "end.at": 1 });
            // With room for entries that a run keeps, which would block the others.
            found.limit(limit as i64 + 1_000).await?.try_collect::<Vec<Document>>().await
        };
        let mut found = self.link.run("maintain", reading).await?;
        // A run whose lease has lapsed may be late: it stays until it is reaped, and keeps the entry only amid its commit.
        let lapsed = |entry: &Document| {
            let until = entry.get_document("run").ok().and_then(|run| Fields::new(run, UNREADABLE).time("until"));
            until.is_some_and(|until: Timestamp| until <= now) && !entry.contains_key("next")
        };
        found.retain(|entry| (!entry.contains_key("run") || lapsed(entry)) && readable(entry, id_of(entry)).is_some());
        done.more |= found.len() > limit;
        found.truncate(limit);
        // Grouped by what is beside it: no job, a job that goes with the entry, one that stays, a late run.
        let mut ways: BTreeMap<u8, Vec<EntryId>> = BTreeMap::new();
        for entry in &found {
            let state = entry.get_document("job").ok().and_then(|job| Fields::new(job, UNREADABLE).maybe_int("s"));
            let way = match state {
                _ if entry.contains_key("run") => 3,
                None => 0,
                Some(state) if self.writes_jobs() && state != job::RUNNING => 1,
                Some(_) => 2,
            };
            done.expired += u64::from(holds_record(entry));
            ways.entry(way).or_default().push(id_of(entry)?);
        }
        for (way, ids) in ways {
            for ids in ids.chunks(IDS) {
                let ids: Vec<Bson> = ids.iter().map(|id| self.keys.entry(id)).collect();
                // Removes an entry only while it is as it was found.
                let mut filter = doc! { "_id": { "$in": ids }, "end.at": { "$lte": time(now) }, "run": Bson::Null };
                match way {
                    0 => drop(filter.insert("job", Bson::Null)),
                    1 => drop(filter.insert("job.s", doc! { "$in": [job::QUEUED, job::DEAD_LETTER] })),
                    _ => {}
                }
                if way == 3 {
                    filter.insert("run", doc! { "$exists": true });
                    filter.insert("run.until", doc! { "$lte": time(now) });
                    filter.insert("next", Bson::Null);
                }
                let entries = &self.link.entries;
                if way >= 2 {
                    let update = if way == 2 { self.stripped() } else { self.stripped_to_run() };
                    self.link.run("maintain", async { entries.update_many(filter, update).await }).await?;
                } else {
                    self.link.run("maintain", async { entries.delete_many(filter).await }).await?;
                }
            }
        }
        Ok(())
    }

    /// Removes the changes that no present run compares with, the oldest first.
    ///
    /// It raises the low watermark first, and then reads the runs once more. A run that it does not see begins to
    /// compare later, and sees the low watermark.
    async fn trim(&self, limit: usize, namespace: &NamespaceDoc, done: &mut Maintained) -> Result<()> {
        let needed = self
            .oldest_start()
            .await?
            .map_or(namespace.revision, |start_revision| start_revision.min(namespace.revision));
        let old = |below: u64| doc! { "n": self.keys.number, "k": { "$lte": number(below) } };
        let most = limit.saturating_mul(10);
        let state = &self.link.state;
        let reading = async {
            let found = state.find(old(needed)).projection(doc! { "k": 1 }).sort(doc! { "k": 1 });
            found.limit(most as i64 + 1).await?.try_collect::<Vec<Document>>().await
        };
        let found = self.link.run("maintain", reading).await?;
        let revision = |change| readable_state(change, Fields::new(change, UNREADABLE).count("k"));
        let revisions: Vec<u64> = found.iter().filter_map(revision).collect();
        let highest = if revisions.len() > most { revisions[most - 1] } else { needed };
        done.more |= revisions.len() > most;
        if revisions.is_empty() {
            return Ok(());
        }
        let raise = vec![doc! { "$set": { "low_watermark": { "$max": ["$low_watermark", number(highest)] } } }];
        let filter = doc! { "_id": self.keys.namespace() };
        self.link.run("maintain", async { state.update_one(filter, raise).await }).await?;
        let spared = self.oldest_start().await?.map_or(highest, |start_revision| start_revision.min(highest));
        let gone = self.link.run("maintain", async { state.delete_many(old(spared)).await }).await?;
        done.trimmed += gone.deleted_count;
        Ok(())
    }

    /// The start revision of the oldest run, lapsed ones included.
    async fn oldest_start(&self) -> Result<Option<u64>> {
        let mut pipeline = self.runs(doc! { "start_revision": "$run.start_revision" });
        // A run without a number can store nothing.
        pipeline.push(doc! { "$match": { "start_revision": { "$gte": 0_i64 } } });
        pipeline.push(doc! { "$group": { "_id": Bson::Null, "start_revision": { "$min": "$start_revision" } } });
        let reading = async { self.link.entries.aggregate(pipeline).await?.try_next().await };
        let found = self.link.run("maintain", reading).await?;
        Ok(found.map(|found| Fields::new(&found, UNREADABLE).maybe_int("start_revision").map_or(0, count)))
    }

    /// Marks entries of old epochs. A value that is stored behind the walk has the present epochs, or is stored as
    /// stale.
    async fn sweep(&self, limit: usize, namespace: &NamespaceDoc, done: &mut Maintained) -> Result<()> {
        let Sweep::Under { after, .. } = &namespace.sweep else { return Ok(()) };
        let mut range = self.keys.after(None);
        if !after.is_empty() {
            range.insert("$gt", binary(after.clone()));
        }
        let reading = async {
            let fields = doc! { "n": 1, "lazy": 1, "epochs": 1, "next.epochs": 1 };
            let found = self.link.entries.find(doc! { "_id": range }).projection(fields);
            found.sort(doc! { "_id": 1 }).limit(limit as i64).await?.try_collect::<Vec<Document>>().await
        };
        let found = self.link.run("maintain", reading).await?;
        let validity = namespace.validity();
        // One group for each set of epochs: a value that was stored meanwhile has others.
        let mut records: BTreeMap<Vec<u8>, Vec<EntryId>> = BTreeMap::new();
        let mut beside: BTreeMap<Vec<u8>, Vec<EntryId>> = BTreeMap::new();
        for entry in &found {
            let Some(id) = readable(entry, id_of(entry)) else { continue };
            if let Some(epochs) = entry.get_binary_generic("epochs").ok().filter(|epochs| validity.is_outdated(epochs))
            {
                records.entry(epochs.clone()).or_default().push(id);
                done.marked += 1;
                if entry.get_bool("lazy") != Ok(true) {
                    done.jobs.push(id);
                }
            }
            let next = entry.get_document("next").ok().and_then(|next| next.get_binary_generic("epochs").ok());
            if let Some(epochs) = next.filter(|epochs| validity.is_outdated(epochs)) {
                beside.entry(epochs.clone()).or_default().push(id);
            }
        }
        // Values beside the stored ones first. A value that moves to its place before this update is among the entries
        // by then, and one that moves after it is stored as stale.
        for (epochs, ids) in &beside {
            self.mark_of_epochs("next.epochs", epochs, ids, &[doc! { "$set": { "next.affected": 2_i64 } }]).await?;
            if self.mark_of_epochs("epochs", epochs, ids, &self.swept()).await? > 0 {
                self.note_swept(epochs, ids, done).await?;
            }
        }
        for (epochs, ids) in &records {
            self.mark_of_epochs("epochs", epochs, ids, &self.swept()).await?;
        }
        let over = found.len() < limit;
        let last = found.last().filter(|_| !over).and_then(|entry| entry.get_binary_generic("_id").ok());
        let next = last.map_or(Bson::Null, |last| binary(last.clone()));
        // A new epoch has started another walk, which has another name. The other fields may have changed: a feed saves
        // its position again and again.
        let (walk, place) = namespace.sweep.written();
        let filter = doc! { "_id": self.keys.namespace(), "walk": walk, "sweep": place };
        let update = doc! { "$set": { "sweep": next }, "$inc": { "rev": 1_i64 } };
        let moved = self.link.run("maintain", async { self.link.state.update_one(filter, update).await }).await?;
        done.more |= !over || moved.matched_count == 0;
        Ok(())
    }

    /// Updates those of some entries that have these epochs. Returns how many there were.
    async fn mark_of_epochs(&self, field: &str, epochs: &[u8], ids: &[EntryId], update: &[Document]) -> Result<u64> {
        let mut matched = 0;
        for ids in ids.chunks(IDS) {
            let ids: Vec<Bson> = ids.iter().map(|id| self.keys.entry(id)).collect();
            let filter = doc! { "_id": { "$in": ids }, field: binary(epochs) };
            let marking = async { self.link.entries.update_many(filter, update.to_vec()).await };
            matched += self.link.run("maintain", marking).await?.matched_count;
        }
        Ok(matched)
    }

    /// Reports those of some entries whose value came to its place during the walk.
    async fn note_swept(&self, epochs: &[u8], ids: &[EntryId], done: &mut Maintained) -> Result<()> {
        for ids in ids.chunks(IDS) {
            let ids: Vec<Bson> = ids.iter().map(|id| self.keys.entry(id)).collect();
            let filter = doc! { "_id": { "$in": ids }, "epochs": binary(epochs), "lazy": false };
            let reading = async {
                let found = self.link.entries.find(filter).projection(doc! { "_id": 1 }).await?;
                found.try_collect::<Vec<Document>>().await
            };
            let found = self.link.run("maintain", reading).await?;
            done.jobs.extend(found.iter().filter_map(|entry| readable(entry, id_of(entry))));
        }
        Ok(())
    }

    /// Marks an entry of an old epoch as stale.
    fn swept(&self) -> Vec<Document> {
        let mut marked = doc! {
            "stale": when(has_record(), "$stale", 2_i64),
            "since": when(has_record(), "$since", doc! { "$ifNull": ["$since", now()] }),
            "causes": when(has_record(), "$causes", noted("$causes", literal(vec![Bson::from(NEW_EPOCH)]))),
        };
        if self.writes_jobs() {
            let wanted = all([has_record(), doc! { "$not": ["$lazy"] }.into()]);
            let job = job::needed(self.keys.number, &1_i64.into(), job::USUAL, &now());
            marked.insert("job", cond(wanted, job, keep("$job")));
        }
        [doc! { "$set": marked }].into_iter().chain(tidy(self.keys.number)).collect()
    }

    async fn redo_unfinished(&self, now: Timestamp, done: &mut Maintained) -> Result<()> {
        let filter = doc! { "n": self.keys.number, "k": i64::MAX, "until": { "$lte": time(now) } };
        let reading = async { self.link.state.find(filter).limit(REDONE).await?.try_collect::<Vec<Document>>().await };
        for change in self.link.run("maintain", reading).await? {
            let Some(nonce) = readable_state(&change, nonce(&change).ok_or_else(|| corrupt(UNREADABLE))) else {
                continue;
            };
            let keys = |name: &str| {
                change.get_array(name).into_iter().flatten().filter_map(|key| match key {
                    Bson::Binary(key) => Some(&key.bytes),
                    _ => None,
                })
            };
            let dependencies: Vec<Dependency> = keys("deps").filter_map(|key| changed_of(key)).collect();
            let entries: Vec<EntryId> = keys("ids").filter_map(|key| readable_state(&change, entry_of(key))).collect();
            let until = change.get("until").unwrap_or(&Bson::Null);
            done.jobs.extend(self.redo(nonce, until, &dependencies, &entries).await?);
            done.redone += dependencies.len() as u64;
        }
        Ok(())
    }
}

//! Runs: begin, abort, extend, remove.

use futures_util::{StreamExt, TryStreamExt, stream};
use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};
use smache_core::{
    Abort, Begin, BeginOutcome, Begun, EntryId, Result, Timestamp, Token,
    support::{clip, limits::ERROR_BYTES},
};

use super::Inner;
use crate::{
    error::{corrupt, is_duplicate, overtaken},
    expression::{after, all, cond, gone, has_record, is_there, keep, literal, now, number, tidy, when},
    job,
    keys::{ENTRIES, STATE, binary, changed_of},
    link::SIDE_BY_SIDE,
    namespace::{NamespaceDoc, Seen, and, look},
    record::{Fields, has_record as holds_record, record},
};

/// How often a step that others overtake is tried.
const TRIES: usize = 32;

pub(super) const UNREADABLE: &str = "a run cannot be read: unset `run` in its document of `smache_entries`";

/// A run in a document.
pub(super) struct Running {
    pub(super) token: Token,
    pub(super) start_revision: u64,
    pub(super) until: Timestamp,
}

impl Running {
    /// The run of an entry, if there is one.
    pub(super) fn of(entry: &Document) -> Result<Option<Self>> {
        let Ok(run) = entry.get_document("run") else { return Ok(None) };
        let run = Fields::new(run, UNREADABLE);
        let until = run.time("until").ok_or_else(|| corrupt(UNREADABLE))?;
        Ok(Some(Self { token: run.token("token")?, start_revision: run.count("start_revision")?, until }))
    }
}

/// Drops the value beside the stored one, with its edges.
pub(super) fn drop_next() -> Document {
    doc! { "deps": when(is_there("$next"), "$deps", "$next.was"), "next": gone() }
}

impl Inner {
    /// Reads the namespace, then the entry, then the documents of more stages.
    async fn before(
        &self,
        step: &'static str,
        id: &EntryId,
        projection: Document,
        more: Option<Document>,
    ) -> Result<Seen> {
        let entry = vec![doc! { "$match": { "_id": self.keys.entry(id) } }, doc! { "$project": projection }];
        look(&self.link, &self.keys, step, [and(ENTRIES, entry)].into_iter().chain(more).collect()).await
    }

    /// The changes that are under way.
    fn under_way(&self) -> Document {
        let changes = vec![
            doc! { "$match": { "n": self.keys.number, "k": i64::MAX } },
            doc! { "$project": { "deps": 1 } },
            doc! { "$limit": 100 },
        ];
        and(STATE, changes)
    }

    /// Reads, and then takes the lease on condition that the value is still the one that it read.
    ///
    /// It reads the revision before the run is visible, so before any data. Maintenance that does not see the run yet
    /// may trim above that revision; it raises the low watermark first, which makes the commit a conflict.
    pub(super) async fn begin_run(&self, begin: &Begin) -> Result<BeginOutcome> {
        let hidden = doc! { "run.waits": 0, "next.value": 0, "next.call": 0, "next.meta": 0 };
        for _ in 0..TRIES {
            let seen = self.before("begin", &begin.id, hidden.clone(), Some(self.under_way())).await?;
            let (entries, changes): (Vec<_>, Vec<_>) =
                seen.more.iter().partition(|document| id_length(document) > CHANGE);
            let entry = entries.first().copied();
            let running = entry.map(Running::of).transpose()?.flatten();
            let now = seen.namespace.now;
            if let Some(run) = running.as_ref().filter(|run| run.until > now && run.token != begin.token) {
                let remaining = run.until.since(now).max(Duration::from_millis(1));
                return Ok(BeginOutcome::Busy { remaining });
            }
            let start_revision = running.filter(|run| run.token == begin.token).map(|run| run.start_revision);
            if !self.take_lease(begin, &seen.namespace, entry).await? {
                continue;
            }
            return Ok(BeginOutcome::Begun(Box::new(begun(&seen.namespace, start_revision, entry, &changes)?)));
        }
        Err(overtaken("begin"))
    }

    /// Takes the lease if the relevant fields of the document are as they were read. Returns whether it did.
    async fn take_lease(&self, begin: &Begin, namespace: &NamespaceDoc, entry: Option<&Document>) -> Result<bool> {
        let token = binary(begin.token.as_bytes());
        // A null in a filter matches a missing field.
        let field = |name: &str| entry.and_then(|entry| entry.get(name)).cloned().unwrap_or(Bson::Null);
        let run = entry.and_then(|entry| entry.get_document("run").ok());
        let held = run.and_then(|run| run.get("token")).cloned().unwrap_or(Bson::Null);
        let mut unchanged =
            doc! { "_id": self.keys.entry(&begin.id), "version": field("version"), "run.token": held.clone() };
        if let Some(until) = run.and_then(|run| run.get("until")) {
            // The owner may have extended it.
            unchanged.insert("run.until", until.clone());
        }
        let taken = if held == token {
            vec![doc! { "$set": { "run": { "$mergeObjects": ["$run", { "until": after(begin.lease) }] } } }]
        } else {
            let run = doc! {
                "n": self.keys.number, "token": token, "start_revision": number(namespace.revision), "until": after(begin.lease),
            };
            vec![doc! { "$set": drop_next() }, doc! { "$set": { "run": cond(true, run, gone()) } }]
        };
        // An insert has made a document of the filter, which says that there is no version.
        let cleared = doc! { "$set": { "version": cond(has_record(), "$version", gone()) } };
        let update: Vec<Document> = taken.into_iter().chain([cleared]).chain(tidy(self.keys.number)).collect();
        let taking = self.link.entries.update_one(unchanged, update).upsert(entry.is_none());
        let taking = async {
            match taking.await {
                // Another process has just created the document.
                Err(error) if is_duplicate(&error) => Ok(false),
                taken => taken.map(|taken| taken.matched_count > 0 || taken.upserted_id.is_some()),
            }
        };
        self.link.run("begin", taking).await
    }

    pub(super) async fn abort_run(&self, abort: &Abort) -> Result<bool> {
        let seen = self.before("abort", &abort.id, doc! { "epochs": 1 }, None).await?;
        let Some(entry) = seen.more.first() else { return Ok(false) };
        let failure = abort.failure.as_deref().map(|failure| clip(failure, ERROR_BYTES));
        let filter = doc! { "_id": self.keys.entry(&abort.id), "run.token": binary(abort.token.as_bytes()) };
        let held = self.end_run("abort", filter, entry, &seen.namespace, failure, abort.delay).await?;
        if held && self.writes_jobs() {
            self.notifier.notify();
        }
        Ok(held)
    }

    /// Ends a run without a value. The entry may be of an old epoch, which an update cannot compute: the program
    /// decides it from the entry that it read, and the decision counts while the value is the same.
    pub(super) async fn end_run(
        &self,
        step: &'static str,
        filter: Document,
        entry: &Document,
        namespace: &NamespaceDoc,
        failure: Option<&str>,
        delay: Duration,
    ) -> Result<bool> {
        let epochs = entry.get_binary_generic("epochs").ok();
        let outdated = epochs.filter(|epochs| namespace.validity().is_outdated(epochs));
        let mut ended = drop_next();
        ended.insert("run", gone());
        if let Some(failure) = failure {
            let noted = |field: &str, value: Bson| when(has_record(), &format!("${field}"), value);
            ended.insert("failures", noted("failures", doc! { "$add": ["$failures", 1_i64] }.into()));
            ended.insert("failure", noted("failure", literal(failure)));
            ended.insert("failed", noted("failed", now()));
        }
        if self.writes_jobs() {
            let old =
                outdated.map_or(Bson::from(false), |epochs| doc! { "$eq": ["$epochs", binary(epochs.clone())] }.into());
            let stale = doc! { "$or": [old.clone(), { "$gt": ["$stale", 0] }] };
            let lane = cond(old, 1_i64, doc! { "$subtract": ["$stale", 1] });
            let wanted = all([has_record(), doc! { "$not": ["$lazy"] }.into(), stale.into()]);
            ended.insert("job", cond(wanted, job::ensured(self.keys.number, &lane, &after(delay)), job::kept()));
        }
        let update: Vec<Document> = [doc! { "$set": ended }].into_iter().chain(tidy(self.keys.number)).collect();
        let ended = self.link.run(step, async { self.link.entries.update_one(filter, update).await }).await?;
        Ok(ended.matched_count > 0)
    }

    pub(super) async fn extend_runs(&self, runs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
        let extended = runs.iter().map(async |(id, token)| {
            let filter = doc! { "_id": self.keys.entry(id), "run.token": binary(token.as_bytes()) };
            let update = vec![doc! { "$set": { "run.until": after(lease) } }];
            let extended =
                self.link.run("extend", async { self.link.entries.update_one(filter, update).await }).await?;
            Ok(extended.matched_count > 0)
        });
        let extended: Vec<_> = extended.collect();
        stream::iter(extended).buffered(SIDE_BY_SIDE).try_collect().await
    }

    /// Removes everything of an entry. A running job stays until it is settled, but does not run again. A job of a
    /// queue that only shares the collection stays.
    pub(super) async fn remove_entry(&self, id: &EntryId, token: Option<Token>) -> Result<bool> {
        let key = self.keys.entry(id);
        for _ in 0..TRIES {
            let reading = self.link.entries.find_one(doc! { "_id": &key });
            let reading = reading.projection(doc! { "n": 1, "run.token": 1, "job.s": 1 });
            let Some(found) = self.link.run("remove", async { reading.await }).await? else { return Ok(false) };
            let held = found.get_document("run").ok().and_then(|run| run.get("token")).cloned();
            let ours = token.map(|token| binary(token.as_bytes()));
            let state = found.get_document("job").ok().and_then(|job| Fields::new(job, UNREADABLE).maybe_int("s"));
            let known = held.is_some() || holds_record(&found);
            // A job goes even if it is all that is there.
            let goes = known || (state.is_some() && self.writes_jobs());
            if (ours.is_some() && held != ours) || !goes {
                return Ok(false);
            }
            let or_null = |value: Option<Bson>| value.unwrap_or(Bson::Null);
            let filter = doc! {
                "_id": &key, "n": or_null(found.get("n").cloned()), "run.token": or_null(held), "job.s": or_null(state.map(Bson::from)),
            };
            let leaves = state.is_some_and(|state| !self.writes_jobs() || state == job::RUNNING);
            let entries = &self.link.entries;
            let done = if leaves {
                let update = self.stripped();
                self.link.run("remove", async { entries.update_one(filter, update).await }).await?.matched_count
            } else {
                self.link.run("remove", async { entries.delete_one(filter).await }).await?.deleted_count
            };
            if done > 0 {
                return Ok(known);
            }
        }
        Err(overtaken("remove"))
    }

    /// Removes everything but the job.
    pub(super) fn stripped(&self) -> Vec<Document> {
        self.stripped_to(doc! {})
    }

    /// Removes everything but the job and the run.
    pub(super) fn stripped_to_run(&self) -> Vec<Document> {
        self.stripped_to(doc! { "run": "$run" })
    }

    fn stripped_to(&self, mut left: Document) -> Vec<Document> {
        let job = if self.writes_jobs() { cond(is_there("$job"), job::taken_back(), gone()) } else { keep("$job") };
        left.extend(doc! { "_id": "$_id", "job": job });
        [doc! { "$replaceWith": left }].into_iter().chain(tidy(self.keys.number)).collect()
    }
}

/// The length of a change's id; an entry's id is longer.
const CHANGE: usize = 24;

fn id_length(document: &Document) -> usize {
    document.get_binary_generic("_id").map_or(0, Vec::len)
}

/// The answer to `begin`.
fn begun(
    namespace: &NamespaceDoc,
    start_revision: Option<u64>,
    entry: Option<&Document>,
    changes: &[&Document],
) -> Result<Begun> {
    let record = entry.map(record).transpose()?.flatten();
    let (call, used, conflicts, entry) = match record {
        Some(record) => (Some(record.call), record.used, record.conflicts, Some(record.entry)),
        None => (None, Vec::new(), 0, None),
    };
    let under_way = changes.iter().flat_map(|change| change.get_array("deps").into_iter().flatten());
    let under_way = under_way.filter_map(|key| match key {
        Bson::Binary(key) => changed_of(&key.bytes),
        _ => None,
    });
    let under_way: std::collections::HashSet<_> = under_way.collect();
    Ok(Begun {
        start_revision: start_revision.unwrap_or(namespace.revision),
        now: namespace.now,
        incarnation: namespace.incarnation.clone(),
        validity: namespace.validity(),
        entry,
        call,
        pending: used.iter().any(|used| under_way.contains(&used.dependency)),
        used,
        conflicts,
    })
}

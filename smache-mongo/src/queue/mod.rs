//! The queue: jobs in the documents of their entries.
//!
//! The end of a job depends on its state. For each state there is an update on condition of that state. The queue tries
//! them in order until one applies, and answers for that one.

mod reserve;

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::bson::{Bson, Document, doc};
use smache_core::{
    Enqueued, EntryId, ErrorKind, Examination, FoundJob, Incarnation, JobCounts, JobEnd, JobPage, JobQueue, JobState,
    Lane, Namespace, NewJob, Notifier, Page, Reservation, Reserve, Result, Settled, Settlement, Token,
    support::{
        clip, count,
        limits::{ERROR_BYTES, PAGE},
        log_damaged_job,
    },
};

use crate::{
    error::{is_duplicate, overtaken},
    examine::examine_backend,
    expression::{after, cond, gone, literal, now, tidy},
    job::{self, DEAD_LETTER, QUEUED, RUNNING, UNREADABLE, found, lane_number, listed, state_number},
    keys::{ENTRIES, Keys, binary},
    link::{Link, SIDE_BY_SIDE},
    namespace::look,
    record::Fields,
    store::next_page,
};

/// How often a step that others overtake is tried.
const TRIES: usize = 32;

/// How many entries one update names.
const IDS: usize = 100;

/// A job queue on MongoDB.
pub struct MongoQueue {
    link: Arc<Link>,
    keys: Keys,
    notifier: Notifier,
    /// Whether the store's entries are in the same documents: an entry stays when its job is done.
    joined: bool,
}

impl MongoQueue {
    pub(crate) fn new(link: Arc<Link>, namespace: &Namespace, notifier: Notifier, joined: bool) -> Self {
        Self { link, keys: Keys::new(namespace), notifier, joined }
    }

    /// Changes a job on a condition. Returns whether the condition holds.
    async fn change(&self, step: &'static str, filter: Document, job: Bson) -> Result<bool> {
        let update = self.with_job(job);
        let changed = self.link.run(step, async { self.link.entries.update_one(filter, update).await }).await?;
        Ok(changed.matched_count > 0)
    }

    fn with_job(&self, job: Bson) -> Vec<Document> {
        [doc! { "$set": { "job": job } }].into_iter().chain(tidy(self.keys.number)).collect()
    }

    /// Replaces jobs that cannot be read. The queue does not know whether their entries are stale; the job of a fresh
    /// entry has nothing to do.
    async fn replace_damaged(&self, ids: Bson) -> Result<u64> {
        let new = job::new(self.keys.number, &lane_number(Lane::Recompute).into(), job::USUAL, &now());
        let filter = job::damaged(self.keys.number, ids);
        let update = self.with_job(cond(true, new, gone()));
        let replacing = async { self.link.entries.update_many(filter, update).await };
        let replaced = self.link.run("repair", replacing).await?.modified_count;
        if replaced > 0 {
            log_damaged_job(ENTRIES, replaced);
            self.notifier.notify();
        }
        Ok(replaced)
    }

    async fn enqueue_one(&self, job: &NewJob) -> Result<Enqueued> {
        const STEP: &str = "enqueue";
        let id = self.keys.entry(&job.id);
        let lane = Bson::from(lane_number(job.lane));
        let due = after(job.delay);
        let new = || job::new(self.keys.number, &lane, job.priority.into(), &due);
        let needed = || job::needed(self.keys.number, &lane, job.priority.into(), &due);
        for _ in 0..TRIES {
            let update = self.with_job(cond(true, new(), gone()));
            let adding = self.link.entries.update_one(doc! { "_id": &id, "job": Bson::Null }, update).upsert(true);
            let adding = async {
                match adding.await {
                    // The entry has a job.
                    Err(error) if is_duplicate(&error) => Ok(false),
                    added => added.map(|_| true),
                }
            };
            if self.link.run(STEP, adding).await? {
                return Ok(Enqueued::Queued);
            }
            if !job.revive {
                if self.replace_damaged(doc! { "$eq": &id }.into()).await? > 0 {
                    return Ok(Enqueued::Queued);
                }
                let reading = self.link.entries.find_one(doc! { "_id": &id }).projection(doc! { "job.s": 1 });
                let found = self.link.run(STEP, async { reading.await }).await?;
                let job = found.as_ref().and_then(|found| found.get_document("job").ok());
                match job.and_then(|job| Fields::new(job, UNREADABLE).maybe_int("s")) {
                    Some(DEAD_LETTER) => return Ok(Enqueued::DeadLetter),
                    Some(_) => return Ok(Enqueued::Merged),
                    None => continue,
                }
            }
            for (state, answer) in
                [(QUEUED, Enqueued::Merged), (RUNNING, Enqueued::Again), (DEAD_LETTER, Enqueued::Queued)]
            {
                if self.change(STEP, doc! { "_id": &id, "job.s": state }, needed()).await? {
                    return Ok(answer);
                }
            }
        }
        if self.replace_damaged(doc! { "$eq": &id }.into()).await? > 0 {
            return Ok(Enqueued::Queued);
        }
        Err(overtaken(STEP))
    }

    async fn settle_one(&self, settlement: &Settlement) -> Result<Settled> {
        const STEP: &str = "settle";
        let id = self.keys.entry(&settlement.id);
        let token = binary(settlement.token.as_bytes());
        let held = || doc! { "_id": &id, "job.token": token.clone(), "job.s": RUNNING };
        for _ in 0..TRIES {
            let mut alone = held();
            alone.insert("job.again", Bson::Null);
            if self.end(STEP, &alone, &settlement.end).await? {
                return Ok(Settled::Settled);
            }
            let mut again = held();
            again.insert("job.again.at", doc! { "$gte": 0_i64 });
            if self.change(STEP, again, once_more(&settlement.end)).await? {
                return Ok(Settled::Again);
            }
            let lost = self.link.run(STEP, async { self.link.entries.find_one(held()).await }).await?.is_none();
            if lost {
                return Ok(Settled::Lost);
            }
        }
        Err(overtaken(STEP))
    }

    /// Ends a job without requests during its run.
    async fn end(&self, step: &'static str, alone: &Document, end: &JobEnd) -> Result<bool> {
        let job = match end {
            JobEnd::Done => return self.forget(step, alone).await,
            JobEnd::Release { delay } => job::queued_again(&after(*delay), doc! {}),
            JobEnd::Retry { delay, error } => {
                let more = doc! { "errors": { "$add": ["$job.errors", 1_i64] }, "error": error_text(error) };
                job::queued_again(&after(*delay), more)
            }
            JobEnd::DeadLetter { error } => {
                let dead_letter = doc! { "s": DEAD_LETTER, "at": now(), "error": error_text(error) };
                doc! { "$mergeObjects": [job::without(&["again", "token"]), dead_letter] }.into()
            }
        };
        self.change(step, alone.clone(), job).await
    }

    /// Removes the job, and its document if that holds nothing else.
    async fn forget(&self, step: &'static str, which: &Document) -> Result<bool> {
        let mut nothing_else = which.clone();
        let mut with_entry = which.clone();
        nothing_else.extend(doc! { "n": Bson::Null, "run": Bson::Null });
        with_entry.insert("n", self.keys.number);
        if self.joined && self.change(step, with_entry, gone()).await? {
            return Ok(true);
        }
        let entries = &self.link.entries;
        let gone_all = self.link.run(step, async { entries.delete_one(nothing_else).await }).await?;
        Ok(gone_all.deleted_count > 0 || self.change(step, which.clone(), gone()).await?)
    }
}

fn error_text(error: &str) -> Bson {
    literal(clip(error, ERROR_BYTES))
}

/// The end of a job that was requested during its run.
fn once_more(end: &JobEnd) -> Bson {
    // As a change of a dead letter: it starts again.
    let anew = doc! { "l": "$job.again.l", "errors": 0_i64, "crashes": 0_i64 };
    let sooner =
        |operator: &str, delay: Duration| -> Bson { doc! { operator: ["$job.again.at", after(delay)] }.into() };
    let merged = match end {
        JobEnd::Done | JobEnd::DeadLetter { .. } => job::queued_again(&"$job.again.at".into(), anew),
        JobEnd::Release { delay } => return job::queued_again(&sooner("$min", *delay), doc! {}),
        // A failed job backs off although its data changed.
        JobEnd::Retry { delay, error } => {
            let more = doc! { "errors": { "$add": ["$job.errors", 1_i64] }, "error": error_text(error) };
            return job::queued_again(&sooner("$max", *delay), more);
        }
    };
    job::without_error(&merged)
}

/// Requests in order, cut before a second one of the same entry: the two must not overtake each other.
fn waves<T>(all: &[T], id: impl Fn(&T) -> EntryId) -> Vec<&[T]> {
    let mut waves = Vec::new();
    let mut start = 0;
    let mut seen = HashSet::new();
    for (place, id) in all.iter().map(id).enumerate() {
        if !seen.insert(id) {
            waves.push(&all[start..place]);
            start = place;
            seen = HashSet::from([id]);
        }
    }
    waves.push(&all[start..]);
    waves
}

#[async_trait]
impl JobQueue for MongoQueue {
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
        let adding = async {
            let mut answers = Vec::with_capacity(jobs.len());
            for wave in waves(jobs, |job| job.id) {
                let added: Vec<_> = wave.iter().map(|job| self.enqueue_one(job)).collect();
                answers.extend(stream::iter(added).buffered(SIDE_BY_SIDE).try_collect::<Vec<_>>().await?);
            }
            Ok(answers)
        };
        let answers = adding.await;
        // After an error too: some jobs may have been added.
        self.notifier.notify();
        answers
    }

    async fn reserve(&self, reserve: Reserve) -> Result<Reservation> {
        match self.reserve_jobs(&reserve).await {
            // An unreadable job must not keep the others from their workers.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let all = Bson::from(self.keys.after(None));
                if self.replace_damaged(all).await? == 0 { Err(error) } else { self.reserve_jobs(&reserve).await }
            }
            reserved => reserved,
        }
    }

    async fn extend(&self, jobs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
        let extended = jobs.iter().map(async |(id, token)| {
            let token = binary(token.as_bytes());
            let filter = doc! { "_id": self.keys.entry(id), "job.token": token, "job.s": RUNNING };
            let update = vec![doc! { "$set": { "job.at": after(lease) } }];
            let extended =
                self.link.run("extend", async { self.link.entries.update_one(filter, update).await }).await?;
            Ok(extended.matched_count > 0)
        });
        let extended: Vec<_> = extended.collect();
        stream::iter(extended).buffered(SIDE_BY_SIDE).try_collect().await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let mut answers = Vec::with_capacity(settlements.len());
        for wave in waves(settlements, |settlement| settlement.id) {
            let settled: Vec<_> = wave.iter().map(|settlement| self.settle_one(settlement)).collect();
            answers.extend(stream::iter(settled).buffered(SIDE_BY_SIDE).try_collect::<Vec<Settled>>().await?);
        }
        let goes_back =
            |settlement: &Settlement| matches!(settlement.end, JobEnd::Release { .. } | JobEnd::Retry { .. });
        if answers.contains(&Settled::Again) || settlements.iter().any(goes_back) {
            self.notifier.notify();
        }
        Ok(answers)
    }

    async fn requeue(&self, ids: &[EntryId]) -> Result<u64> {
        let fresh = doc! { "s": QUEUED, "at": now(), "errors": 0_i64, "crashes": 0_i64 };
        let update = self.with_job(doc! { "$mergeObjects": [job::without(&["error"]), fresh] }.into());
        let mut back = 0;
        for ids in ids.chunks(IDS) {
            let filter = doc! { "_id": { "$in": self.names(ids) }, "job.s": DEAD_LETTER };
            let update = update.clone();
            let changed = self.link.run("requeue", async { self.link.entries.update_many(filter, update).await });
            back += changed.await?.matched_count;
        }
        if back > 0 {
            self.notifier.notify();
        }
        Ok(back)
    }

    async fn discard(&self, ids: &[EntryId]) -> Result<u64> {
        let mut gone_all = 0;
        for ids in ids.chunks(IDS) {
            let idle = doc! { "_id": { "$in": self.names(ids) }, "job.s": { "$in": [QUEUED, DEAD_LETTER] } };
            let mut nothing_else = idle.clone();
            nothing_else.extend(doc! { "n": Bson::Null, "run": Bson::Null });
            let entries = &self.link.entries;
            let removed = self.link.run("discard", async { entries.delete_many(nothing_else).await }).await?;
            let update = self.with_job(gone());
            let changed = self.link.run("discard", async { entries.update_many(idle, update).await }).await?;
            gone_all += removed.deleted_count + changed.matched_count;
        }
        Ok(gone_all)
    }

    async fn counts(&self) -> Result<JobCounts> {
        let pipeline = vec![
            doc! { "$match": { "job.n": self.keys.number } },
            doc! { "$group": { "_id": { "s": "$job.s", "l": "$job.l" }, "all": { "$sum": 1_i64 } } },
        ];
        let reading = async { self.link.entries.aggregate(pipeline).await?.try_collect::<Vec<Document>>().await };
        let mut counts = JobCounts::default();
        for group in self.link.run_long("counts", reading).await? {
            let Ok(of) = group.get_document("_id") else { continue };
            let of = Fields::new(of, UNREADABLE);
            let all = Fields::new(&group, UNREADABLE).maybe_int("all");
            let all = all.map_or(0, count);
            match (of.int("s")?, of.int("l")?) {
                (QUEUED, 0) => counts.propagation += all,
                (QUEUED, _) => counts.recompute += all,
                (RUNNING, _) => counts.running += all,
                _ => counts.dead_letters += all,
            }
        }
        Ok(counts)
    }

    async fn list(&self, state: JobState, after: Option<Bytes>, limit: usize) -> Result<JobPage> {
        let after = after.as_deref().map(Page::id_in).transpose()?;
        let limit = limit.clamp(1, PAGE);
        let filter = doc! {
            "job.n": self.keys.number, "job.s": state_number(state), "_id": self.keys.after(after.as_ref()),
        };
        let reading = async {
            let found = self.link.entries.find(filter).projection(doc! { "job": 1 }).sort(doc! { "_id": 1 });
            found.limit(limit as i64 + 1).await?.try_collect::<Vec<Document>>().await
        };
        let mut found = self.link.run("list", reading).await?;
        let next = next_page(&mut found, limit)?;
        Ok(JobPage { jobs: found.iter().map(listed).collect::<Result<_>>()?, next })
    }

    async fn find(&self, id: &EntryId) -> Result<Option<FoundJob>> {
        let reading = self.link.entries.find_one(doc! { "_id": self.keys.entry(id) }).projection(doc! { "job": 1 });
        let entry = self.link.run("find", async { reading.await }).await?;
        entry.as_ref().and_then(|entry| entry.get_document("job").ok()).map(found).transpose()
    }

    async fn examine(&self) -> Result<Examination> {
        examine_backend(&self.link).await
    }

    async fn incarnation(&self) -> Result<Incarnation> {
        Ok(look(&self.link, &self.keys, "incarnation", Vec::new()).await?.namespace.incarnation)
    }

    async fn wait(&self, timeout: Duration) -> Result<()> {
        self.notifier.notified(timeout).await;
        Ok(())
    }
}

impl MongoQueue {
    fn names(&self, ids: &[EntryId]) -> Vec<Bson> {
        ids.iter().map(|id| self.keys.entry(id)).collect()
    }
}

impl fmt::Debug for MongoQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoQueue")
            .field("namespace", &self.keys.name)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

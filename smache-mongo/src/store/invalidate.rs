//! Invalidation: announce, mark page by page, raise the revision.
//!
//! An update of many documents is not one step. So an invalidation first announces the change, with a revision beyond
//! all others: from then on no commit that it affects is fresh. Then it marks all dependants; a run that becomes a
//! dependant meanwhile reads the change (see `commit`). Then it raises the revision and, in the same step, saves the
//! progress of the feed. At last the change gets that revision. A change without a revision was given up on the way:
//! maintenance redoes it after its deadline, and until then it counts as under way, which is safe.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use smache_core::{
    ChangedDependency, Dependency, EntryId, Epoch, FeedStep, Invalidated, Invalidation, InvalidationAttempt, Result,
    SourceId, Timestamp, protocol,
    support::{
        UNFINISHED, clip,
        limits::{CAUSE_BYTES, MARK_LIFETIME, MARK_RENEWAL},
    },
};
use tokio::time::Instant;

use super::Inner;
use crate::{
    expression::{after, all, cond, gone, has_record, keep, literal, noted, now, number, tidy, when},
    job::{self, id_of},
    keys::binary,
    namespace::{Change, change, look, read, tick},
    record::{has_record as holds_record, readable},
};

/// The most changed dependencies in one update.
const CHANGED: usize = 64;

/// The most entries in one update.
const IDS: usize = 100;

/// The most dependencies in one document of a change.
const ANNOUNCED: usize = 10_000;

/// The progress of an invalidation.
#[derive(Default)]
struct Done {
    marked: u64,
    jobs: Vec<EntryId>,
    seen: HashSet<EntryId>,
}

/// The documents of a page, how stale they become, and why.
struct Marks {
    filter: Document,
    level: Bson,
    causes: Bson,
}

/// An announced change.
pub(super) struct Announced {
    nonces: Vec<Bson>,
    /// Selects the announcements of earlier attempts of the same feed, which this one has finished.
    earlier: Option<Document>,
    /// When its deadline was last moved.
    renewed: Instant,
}

impl Inner {
    pub(super) async fn invalidate_all(&self, invalidation: &Invalidation) -> Result<Invalidated> {
        const STEP: &str = "invalidate";
        let Invalidation { changed, entries, step } = invalidation;
        let happened = !changed.is_empty() || !entries.is_empty();
        let mut began = None;
        if let Some(step) = step.as_ref().filter(|_| happened) {
            // First: a replaced leader must change nothing.
            let namespace = read(&self.link, &self.keys, STEP, Vec::new()).await?.namespace;
            namespace.check(step)?;
            began = Some(namespace.now);
        }
        let mut announced = None;
        let mut done = Done::default();
        if happened {
            let mut change = self.announce(changed, entries, step.as_ref()).await?;
            self.mark_all(&mut change, changed, entries, &mut done).await?;
            announced = Some(change);
        }
        let revision = match step {
            // Two leaders of a feed cannot both get here: the step that saves the positions compares the fence.
            Some(step) => self.save(step, began, happened).await?,
            None if happened => tick(&self.link, &self.keys, STEP).await?,
            None => look(&self.link, &self.keys, STEP, Vec::new()).await?.namespace.revision,
        };
        if let Some(change) = announced {
            self.finish(&change, revision).await?;
        }
        Ok(Invalidated { revision, marked: done.marked, jobs: self.reported(done.jobs) })
    }

    /// The ids for the caller to queue. Where the store writes the jobs, it notifies workers and returns none.
    pub(super) fn reported(&self, needy: Vec<EntryId>) -> Vec<EntryId> {
        if !self.writes_jobs() {
            return needy;
        }
        if !needy.is_empty() {
            self.notifier.notify();
        }
        Vec::new()
    }

    /// Announces a change, before any dependant is marked.
    async fn announce(
        &self,
        changed: &[ChangedDependency],
        entries: &[EntryId],
        step: Option<&FeedStep>,
    ) -> Result<Announced> {
        let count = changed.len().max(entries.len()).div_ceil(ANNOUNCED).max(1);
        let first = InvalidationAttempt::next(step);
        let earlier = step.map(|_| {
            let all: Vec<Bson> = changed.iter().map(|changed| self.keys.changed(&changed.dependency)).collect();
            let from = self.keys.change(&first.first_of_feed());
            doc! {
                "_id": { "$gte": from, "$lt": self.keys.change(first.as_bytes()) },
                "k": i64::MAX,
                "ids": [],
                "$expr": { "$setIsSubset": ["$deps", literal(all)] },
            }
        });
        let mut announced = Announced { nonces: Vec::new(), earlier, renewed: Instant::now() };
        for place in 0..count {
            let dependencies = changed.chunks(ANNOUNCED).nth(place).unwrap_or_default();
            let entries = entries.chunks(ANNOUNCED).nth(place).unwrap_or_default();
            let mut keys: Vec<Bson> = Vec::with_capacity(dependencies.len());
            let mut known = HashSet::new();
            keys.extend(
                dependencies
                    .iter()
                    .filter(|changed| known.insert(changed.dependency))
                    .map(|changed| self.keys.changed(&changed.dependency)),
            );
            let ids: Vec<Bson> = entries.iter().map(|id| self.keys.entry(id)).collect();
            let attempt = if place == 0 { first } else { InvalidationAttempt::next(step) };
            let nonce = self.keys.change(attempt.as_bytes());
            let written = doc! { "$set": {
                "n": self.keys.number, "k": i64::MAX, "until": after(MARK_LIFETIME), "deps": literal(keys), "ids": literal(ids),
            } };
            let filter = doc! { "_id": nonce.clone() };
            let writing = self.link.state.update_one(filter, vec![written]).upsert(true);
            self.link.run("invalidate", async { writing.await }).await?;
            announced.nonces.push(nonce);
        }
        Ok(announced)
    }

    /// Ends the change with its revision, and the earlier attempts of the leader at it.
    pub(super) async fn finish(&self, change: &Announced, revision: u64) -> Result<()> {
        let own = doc! { "_id": { "$in": change.nonces.clone() } };
        let update = doc! { "$set": { "k": number(revision) }, "$unset": { "until": "", "ids": "" } };
        // A change that another process has finished and trimmed is not there any more.
        let finishing = async {
            match (change.nonces.as_slice(), &change.earlier) {
                ([nonce], None) => self.link.state.update_one(doc! { "_id": nonce }, update).await,
                (_, None) => self.link.state.update_many(own, update).await,
                (_, Some(earlier)) => self.link.state.update_many(doc! { "$or": [own, earlier.clone()] }, update).await,
            }
        };
        self.link.run("invalidate", finishing).await.map(drop)
    }

    /// Moves the deadline of a long change, so that maintenance does not take it as given up.
    async fn renew(&self, change: &mut Announced) -> Result<()> {
        if change.renewed.elapsed() < MARK_RENEWAL {
            return Ok(());
        }
        change.renewed = Instant::now();
        let filter = doc! { "_id": { "$in": change.nonces.clone() }, "k": i64::MAX };
        let update = vec![doc! { "$set": { "until": after(MARK_LIFETIME) } }];
        self.link.run("invalidate", async { self.link.state.update_many(filter, update).await }).await.map(drop)
    }

    /// Marks every dependant of the changed dependencies, and the named entries.
    async fn mark_all(
        &self,
        change: &mut Announced,
        changed: &[ChangedDependency],
        entries: &[EntryId],
        done: &mut Done,
    ) -> Result<()> {
        // The causes for named entries: the entries' dependencies are among the changed ones.
        let named: HashMap<Dependency, EntryId> = entries.iter().map(|id| (Dependency::entry(id), *id)).collect();
        let of_named = changed.iter().filter(|changed| named.contains_key(&changed.dependency));
        let own: HashMap<EntryId, &str> =
            of_named.map(|changed| (named[&changed.dependency], clip(&changed.cause, CAUSE_BYTES))).collect();
        let mut by_cause: BTreeMap<Option<&str>, Vec<EntryId>> = BTreeMap::new();
        for id in entries {
            by_cause.entry(own.get(id).copied()).or_default().push(*id);
        }
        for (cause, ids) in by_cause {
            for ids in ids.chunks(IDS) {
                self.renew(change).await?;
                let keys: Vec<Bson> = ids.iter().map(|id| self.keys.entry(id)).collect();
                let causes = cause.map_or_else(Vec::new, |cause| vec![Bson::from(cause)]);
                let filter = doc! { "_id": { "$in": keys } };
                let marks = Marks { filter, level: 2_i64.into(), causes: literal(causes) };
                let found = self.page(&marks.filter, i64::MAX).await?;
                self.mark(&marks, &found, done).await?;
            }
        }
        for changed in changed.chunks(CHANGED) {
            self.renew(change).await?;
            self.mark_dependants(change, changed, done).await?;
        }
        Ok(())
    }

    /// Page by page, in the order of the ids.
    async fn mark_dependants(
        &self,
        change: &mut Announced,
        changed: &[ChangedDependency],
        done: &mut Done,
    ) -> Result<()> {
        let edge = |changed: &ChangedDependency, direct| self.keys.edge(&changed.dependency, direct);
        let both: Vec<Bson> = changed.iter().flat_map(|changed| [edge(changed, true), edge(changed, false)]).collect();
        let direct: Vec<Bson> = changed.iter().map(|changed| edge(changed, true)).collect();
        let level =
            cond(doc! { "$gt": [{ "$size": { "$setIntersection": ["$deps", literal(direct)] } }, 0] }, 2_i64, 1_i64);
        let causes = match changed {
            [changed] => literal(vec![Bson::from(clip(&changed.cause, CAUSE_BYTES))]),
            _ => {
                let one = |changed: &ChangedDependency| {
                    let edges = vec![edge(changed, true), edge(changed, false)];
                    Bson::from(doc! { "e": edges, "c": clip(&changed.cause, CAUSE_BYTES) })
                };
                let all: Vec<Bson> = changed.iter().map(one).collect();
                let meets = doc! { "$gt": [{ "$size": { "$setIntersection": ["$$changed.e", "$deps"] } }, 0] };
                let those = doc! { "$filter": { "input": literal(all), "as": "changed", "cond": meets } };
                doc! { "$map": { "input": those, "as": "changed", "in": "$$changed.c" } }.into()
            }
        };
        let mut last: Option<EntryId> = None;
        loop {
            let filter = doc! { "deps": { "$in": &both }, "_id": self.keys.after(last.as_ref()) };
            let found = self.page(&filter, self.page).await?;
            let Some(end) = found.last().map(id_of).transpose()? else { return Ok(()) };
            let mut range = self.keys.after(last.as_ref());
            range.insert("$lte", self.keys.entry(&end));
            let filter = doc! { "deps": { "$in": &both }, "_id": range };
            let marks = Marks { filter, level: level.clone(), causes: causes.clone() };
            self.mark(&marks, &found, done).await?;
            if (found.len() as i64) < self.page {
                return Ok(());
            }
            last = Some(end);
            self.renew(change).await?;
        }
    }

    async fn page(&self, filter: &Document, limit: i64) -> Result<Vec<Document>> {
        let reading = async {
            let found = self.link.entries.find(filter.clone()).projection(doc! { "n": 1, "lazy": 1 });
            let found = found.sort(doc! { "_id": 1 }).limit(if limit == i64::MAX { 0 } else { limit });
            found.await?.try_collect::<Vec<Document>>().await
        };
        self.link.run("invalidate", reading).await
    }

    /// Marks the found documents, and any that have come into the range meanwhile.
    async fn mark(&self, marks: &Marks, found: &[Document], done: &mut Done) -> Result<()> {
        if found.is_empty() {
            return Ok(());
        }
        let update = self.marked(marks);
        let filter = marks.filter.clone();
        self.link.run_long("invalidate", async { self.link.entries.update_many(filter, update).await }).await?;
        for document in found.iter().filter(|document| holds_record(document)) {
            done.marked += 1;
            let Some(id) = readable(document, id_of(document)) else { continue };
            if document.get_bool("lazy") != Ok(true) && done.seen.insert(id) {
                done.jobs.push(id);
            }
        }
        Ok(())
    }

    /// Marks stale documents too: their causes and the value beside must be noted.
    fn marked(&self, marks: &Marks) -> Vec<Document> {
        let record = |field: &str, value: Bson| when(has_record(), field, value);
        let beside = doc! { "$mergeObjects": ["$next", {
            "affected": { "$max": ["$next.affected", marks.level.clone()] },
            "causes": noted("$next.causes", marks.causes.clone()),
        }] };
        let mut stages = vec![doc! { "$set": {
            "stale": record("$stale", doc! { "$max": ["$stale", marks.level.clone()] }.into()),
            "since": record("$since", doc! { "$ifNull": ["$since", now()] }.into()),
            "causes": record("$causes", noted("$causes", marks.causes.clone())),
            "next": cond(crate::expression::is_there("$next"), beside, gone()),
        } }];
        if self.writes_jobs() {
            let lane = doc! { "$subtract": ["$stale", 1] }.into();
            let wanted = all([has_record(), doc! { "$not": ["$lazy"] }.into()]);
            let job = job::needed(self.keys.number, &lane, job::USUAL, &now());
            stages.push(doc! { "$set": { "job": cond(wanted, job, keep("$job")) } });
        }
        stages.into_iter().chain(tidy(self.keys.number)).collect()
    }

    /// Saves the progress of a feed, and raises the revision if something changed, in one step.
    ///
    /// The feed confirms from the moment at which the step `began`: its batch has no change that came during the step.
    async fn save(&self, step: &FeedStep, began: Option<Timestamp>, ticks: bool) -> Result<u64> {
        let mut step = step.clone();
        // As a deadline, which counts from the beginning.
        let until = began.and_then(|began| step.valid_until(began));
        step.deadline = until.or(step.deadline);
        let (_, revision) = change(&self.link, &self.keys, "invalidate", |namespace| {
            let validity = namespace.validity();
            let saved = |source: &SourceId| namespace.positions.get(source);
            let writes = protocol::save(&namespace.view(&step, &validity), &step, saved, Epoch::random)?;
            namespace.write_step(&step, writes);
            Ok(Change::Write { ticks, answer: () })
        })
        .await?;
        Ok(revision)
    }

    /// Redoes a change that its author announced and did not finish.
    pub(super) async fn redo(
        &self,
        nonce: Bson,
        until: &Bson,
        dependencies: &[Dependency],
        entries: &[EntryId],
    ) -> Result<Vec<EntryId>> {
        // Moves the deadline, so that other processes leave the change alone, and so does this one if the author has
        // renewed it. An author that is only late may go on beside this: the data changed before the announcement, so
        // this walk finds every dependant, whichever process leads the feed now.
        let filter = doc! { "_id": nonce.clone(), "k": i64::MAX, "until": until };
        let update = vec![doc! { "$set": { "until": after(MARK_LIFETIME) } }];
        let taking = async { self.link.state.update_one(filter, update).await };
        if self.link.run("maintain", taking).await?.matched_count == 0 {
            return Ok(Vec::new());
        }
        let mut change = Announced { nonces: vec![nonce], earlier: None, renewed: Instant::now() };
        let changed = |dependency: &Dependency| ChangedDependency { dependency: *dependency, cause: UNFINISHED.into() };
        let changed: Vec<ChangedDependency> = dependencies.iter().map(changed).collect();
        let mut done = Done::default();
        self.mark_all(&mut change, &changed, entries, &mut done).await?;
        let revision = tick(&self.link, &self.keys, "maintain").await?;
        self.finish(&change, revision).await?;
        Ok(done.jobs)
    }
}

/// Here, so that the module of maintenance handles no bytes.
pub(super) fn nonce(change: &Document) -> Option<Bson> {
    change.get_binary_generic("_id").ok().map(|nonce| binary(nonce.clone()))
}

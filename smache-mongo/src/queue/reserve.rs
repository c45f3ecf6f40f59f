//! Reserves jobs for workers.

use std::{collections::HashMap, time::Duration};

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use smache_core::{
    EntryId, Job, Reservation, Reserve, Result, Timestamp,
    support::{
        count, few,
        limits::{LAPSED_JOBS, PAGE},
    },
};

use super::{IDS, MongoQueue, TRIES};
use crate::{
    error::{corrupt, overtaken},
    expression::{after, now, time},
    job::{self, QUEUED, RUNNING, UNREADABLE, id_of, lane_number},
    keys::{ENTRIES, binary},
    namespace::and,
    record::Fields,
};

/// The state of the queue for one reservation.
struct View {
    now: Timestamp,
    /// Jobs that the token already holds.
    held: Vec<Document>,
    /// Whether reservations have lapsed.
    lapsed: bool,
    /// The first jobs of the lane, in order, due or not.
    queued: Vec<Document>,
    /// Whether there are more queued jobs.
    more: bool,
}

impl View {
    fn due(&self) -> Result<Vec<EntryId>> {
        let mut ids = Vec::with_capacity(self.queued.len());
        for entry in &self.queued {
            if at(entry)? <= self.now {
                ids.push(id_of(entry)?);
            }
        }
        Ok(ids)
    }
}

impl MongoQueue {
    pub(super) async fn reserve_jobs(&self, reserve: &Reserve) -> Result<Reservation> {
        let max = reserve.max.min(PAGE);
        for _ in 0..TRIES {
            let view = self.view(reserve, max).await?;
            if view.lapsed {
                self.take_back(view.now).await?;
                continue;
            }
            if reserve.again && !view.held.is_empty() {
                // The answer to the same request was lost.
                self.renew(reserve).await?;
                return self.answer(reserve, &view, &[]).await;
            }
            if max == 0 {
                return self.answer(reserve, &view, &[]).await;
            }
            let ids = self.due(reserve, max, &view).await?;
            if ids.is_empty() {
                return self.answer(reserve, &view, &[]).await;
            }
            self.claim(reserve, &ids, view.now).await?;
            let view = self.view(reserve, 1).await?;
            if !view.held.is_empty() {
                return self.answer(reserve, &view, &ids).await;
            }
            // Other workers took them all; there may be more.
        }
        Err(overtaken("reserve"))
    }

    /// Reads the whole view in one command.
    async fn view(&self, reserve: &Reserve, max: usize) -> Result<View> {
        let namespace = self.keys.number;
        let lane = lane_number(reserve.lane);
        let marked = |kind: &str, mut pipeline: Vec<Document>| {
            pipeline.push(doc! { "$project": { "job": 1, "kind": kind } });
            and(ENTRIES, pipeline)
        };
        let pipeline = vec![
            doc! { "$match": { "_id": crate::keys::SCHEMA } },
            doc! { "$project": { "now": now() } },
            marked(
                "held",
                vec![doc! { "$match": {
                    "job.n": namespace, "job.s": RUNNING, "job.l": lane, "job.token": binary(reserve.token.as_bytes()),
                } }],
            ),
            // Few jobs run.
            marked(
                "running",
                vec![
                    doc! { "$match": { "job.n": namespace, "job.s": RUNNING } },
                    doc! { "$sort": { "job.at": 1 } },
                    doc! { "$limit": 1 },
                ],
            ),
            marked(
                "queued",
                vec![
                    doc! { "$match": { "job.n": namespace, "job.s": QUEUED, "job.l": lane } },
                    doc! { "$sort": { "job.p": 1, "job.at": 1 } },
                    doc! { "$limit": max.max(1) as i64 + 1 },
                ],
            ),
        ];
        let reading = async { self.link.state.aggregate(pipeline).await?.try_collect::<Vec<Document>>().await };
        let found = self.link.run("reserve", reading).await?;
        let mut view =
            View { now: Timestamp::default(), held: Vec::new(), lapsed: false, queued: Vec::new(), more: false };
        let mut timed = false;
        for entry in found {
            if let Some(now) = Fields::new(&entry, UNREADABLE).time("now") {
                (view.now, timed) = (now, true);
                continue;
            }
            match entry.get_str("kind") {
                Ok("held") => view.held.push(entry),
                Ok("running") => view.lapsed |= at(&entry)? <= view.now,
                _ => view.queued.push(entry),
            }
        }
        // The collection was dropped, so the schema document with the time is missing; `look` creates it.
        if !timed {
            view.now = crate::namespace::look(&self.link, &self.keys, "reserve", Vec::new()).await?.namespace.now;
        }
        view.more = view.queued.len() > max.max(1);
        view.queued.truncate(max.max(1));
        Ok(view)
    }

    /// Returns the jobs of vanished workers to the queue.
    async fn take_back(&self, now: Timestamp) -> Result<()> {
        let lapsed = doc! {
            "job.n": self.keys.number, "job.s": RUNNING, "job.l": { "$in": [0_i64, 1_i64] },
            "job.at": { "$lte": time(now) },
        };
        let reading = async {
            let found = self.link.entries.find(lapsed.clone()).projection(doc! { "_id": 1 }).limit(LAPSED_JOBS as i64);
            found.await?.try_collect::<Vec<Document>>().await
        };
        let found = self.link.run("reserve", reading).await?;
        let ids = found.iter().map(id_of).collect::<Result<Vec<_>>>()?;
        let crashed = doc! { "crashes": { "$add": ["$job.crashes", 1_i64] } };
        let update = self.with_job(job::queued_again(&crate::expression::now(), crashed));
        for ids in ids.chunks(IDS) {
            let mut filter = doc! { "_id": { "$in": self.names(ids) } };
            filter.extend(lapsed.clone());
            let update = update.clone();
            self.link.run("reserve", async { self.link.entries.update_many(filter, update).await }).await?;
        }
        Ok(())
    }

    /// The due jobs, the most urgent first.
    async fn due(&self, reserve: &Reserve, max: usize, view: &View) -> Result<Vec<EntryId>> {
        let ids = view.due()?;
        if ids.len() == view.queued.len() || !view.more {
            return Ok(ids);
        }
        // Jobs that are not due yet sort before some that are.
        let filter = doc! {
            "job.n": self.keys.number, "job.s": QUEUED, "job.l": lane_number(reserve.lane),
            "job.at": { "$lte": time(view.now) },
        };
        let reading = async {
            let found = self.link.entries.find(filter).projection(doc! { "_id": 1 });
            let found = found.sort(doc! { "job.p": 1, "job.at": 1 }).limit(max as i64);
            found.await?.try_collect::<Vec<Document>>().await
        };
        self.link.run("reserve", reading).await?.iter().map(id_of).collect()
    }

    /// Takes the jobs that no other worker has taken meanwhile.
    async fn claim(&self, reserve: &Reserve, ids: &[EntryId], now: Timestamp) -> Result<()> {
        let held = doc! { "s": RUNNING, "at": after(reserve.lease), "token": binary(reserve.token.as_bytes()) };
        let update = self.with_job(doc! { "$mergeObjects": ["$job", held] }.into());
        for ids in ids.chunks(IDS) {
            let filter = doc! {
                "_id": { "$in": self.names(ids) }, "job.s": QUEUED, "job.l": lane_number(reserve.lane),
                "job.at": { "$lte": time(now) },
            };
            let update = update.clone();
            self.link.run("reserve", async { self.link.entries.update_many(filter, update).await }).await?;
        }
        Ok(())
    }

    /// Renews the leases of an earlier request with the same token.
    async fn renew(&self, reserve: &Reserve) -> Result<()> {
        let filter = doc! {
            "job.n": self.keys.number, "job.s": RUNNING, "job.l": lane_number(reserve.lane),
            "job.token": binary(reserve.token.as_bytes()),
        };
        let update = self.with_job(doc! { "$mergeObjects": ["$job", { "at": after(reserve.lease) }] }.into());
        self.link.run("reserve", async { self.link.entries.update_many(filter, update).await }).await.map(drop)
    }

    /// The held jobs in the order of the ids, and when the next one is due.
    async fn answer(&self, reserve: &Reserve, view: &View, ids: &[EntryId]) -> Result<Reservation> {
        let places: HashMap<&EntryId, usize> = ids.iter().enumerate().map(|(place, id)| (id, place)).collect();
        let jobs = view.held.iter().map(|entry| reserved(entry, reserve));
        let mut jobs = jobs.collect::<Result<Vec<_>>>()?;
        jobs.sort_by_key(|job| places.get(&job.id).copied());
        Ok(Reservation { jobs, next_due: self.next_due(reserve, view).await? })
    }

    /// Priority by priority: jobs that are not due yet sort before others.
    async fn next_due(&self, reserve: &Reserve, view: &View) -> Result<Option<Duration>> {
        let due = |at: Timestamp| at.since(view.now);
        let known = view.queued.iter().map(at).collect::<Result<Vec<_>>>()?;
        let mut soonest = known.into_iter().min();
        let mut level = view.queued.last().map(|entry| of(entry)?.int("p")).transpose()?;
        while let Some(last) = level.filter(|_| view.more && soonest.is_some_and(|soonest| soonest > view.now)) {
            let filter = doc! {
                "job.n": self.keys.number, "job.s": QUEUED, "job.l": lane_number(reserve.lane),
                "job.p": { "$gt": last },
            };
            let reading = async {
                let found = self.link.entries.find_one(filter).projection(doc! { "job": 1 });
                found.sort(doc! { "job.p": 1, "job.at": 1 }).await
            };
            let found = self.link.run("reserve", reading).await?;
            let Some(found) = found else { break };
            soonest = soonest.min(Some(at(&found)?));
            level = Some(of(&found)?.int("p")?);
        }
        Ok(soonest.map(due))
    }
}

fn of(entry: &Document) -> Result<Fields<'_>> {
    entry.get_document("job").map(|job| Fields::new(job, UNREADABLE)).map_err(|_| corrupt(UNREADABLE))
}

fn at(entry: &Document) -> Result<Timestamp> {
    Ok(Timestamp::from_millis(count(of(entry)?.int("at")?)))
}

fn reserved(entry: &Document, reserve: &Reserve) -> Result<Job> {
    let job = of(entry)?;
    Ok(Job {
        id: id_of(entry)?,
        lane: reserve.lane,
        token: reserve.token,
        errors: few(job.int("errors")?),
        crashes: few(job.int("crashes")?),
    })
}

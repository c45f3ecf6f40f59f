//! The reconciler finds stale entries whose job was lost, a bounded number of them at a time.
//!
//! Two walks go over the stale entries. The first one follows changes: after an invalidation or a new epoch it asks the
//! queue about the entries that went stale since its last look. The second one asks about all of them. It starts at
//! once when this process takes the maintenance over, when the store or the queue has another incarnation, and when a
//! job is missing without a known reason; otherwise it is slow, with pauses that grow while it finds nothing.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    Enqueued, EntryId, Epoch, Incarnation, Invalidation, JobWrites, Lane, NewJob, Page, Result, SourceId, Timestamp,
    engine::Engine,
};

/// The pause between two looks for changes, and the first pause of the walk over everything.
const LOOK: Duration = Duration::from_secs(10);
/// The longest pause of the walk over everything.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// How many entries a walk with a reason checks in one step.
const STEP: usize = 500;
/// How many entries the walk without a reason checks in one round of maintenance.
const SLOW_STEP: usize = 25;
/// An entry may have gone stale some time before it is listed: at the begin of the run that stored it.
const SLACK: Duration = Duration::from_secs(60);

/// The walks of the process that does the maintenance.
#[derive(Debug)]
pub(super) struct Reconciler {
    /// The time of the last look.
    looked: Instant,
    /// The answers of that look.
    sight: Option<Sight>,
    changed: Option<Changed>,
    everything: Everything,
}

/// Numbers and names that change when entries go stale or jobs may be lost.
#[derive(Debug, Clone)]
struct Sight {
    at: Timestamp,
    revision: u64,
    epochs: (Epoch, Vec<(SourceId, Epoch)>),
    incarnations: (Incarnation, Incarnation),
}

/// A walk over the entries that went stale lately.
#[derive(Debug)]
struct Changed {
    since: Timestamp,
    cursor: Option<Bytes>,
}

/// The walk over everything.
#[derive(Debug)]
enum Everything {
    Rests { since: Instant, pause: Duration },
    Walks { cursor: Option<Bytes>, urgent: bool, found: bool, pause: Duration },
}

impl Everything {
    /// Starts from the beginning, for a reason.
    fn urgent() -> Self {
        Self::Walks { cursor: None, urgent: true, found: false, pause: LOOK }
    }
}

impl Reconciler {
    pub(super) fn new() -> Self {
        Self { looked: Instant::now(), sight: None, changed: None, everything: Everything::urgent() }
    }

    /// One round: a page of each walk that is under way, and more pages of one that finds lost jobs.
    pub(super) async fn round(&mut self, engine: &Engine, goes_on: impl Fn() -> bool) -> Result<()> {
        if self.looked.elapsed() >= LOOK {
            self.look(engine).await?;
        }
        // Before the first look there is nothing to find: new jobs are still on their way to the queue.
        if self.sight.is_none() {
            return Ok(());
        }
        if let Some(changed) = &mut self.changed {
            let page = Page { cursor: changed.cursor.clone(), limit: STEP };
            let asked = engine.ask_about(page, Some(changed.since)).await?;
            match asked.next {
                Some(next) => changed.cursor = Some(next),
                None => self.changed = None,
            }
        }
        while self.step(engine).await? && goes_on() {}
        Ok(())
    }

    /// Looks for changes, and starts the walks that they need.
    async fn look(&mut self, engine: &Engine) -> Result<()> {
        let now = engine.sight().await?;
        self.looked = Instant::now();
        if let Some(before) = self.sight.replace(now.clone()) {
            if before.incarnations != now.incarnations {
                self.everything = Everything::urgent();
            } else if engine.store.job_writes() == JobWrites::Reported
                && (before.revision, &before.epochs) != (now.revision, &now.epochs)
            {
                // A walk that is under way began with an earlier look: it restarts with that look's time.
                let since = Timestamp::from_millis(before.at.as_millis().saturating_sub(SLACK.as_millis() as u64));
                let since = self.changed.as_ref().map_or(since, |walk| walk.since.min(since));
                self.changed = Some(Changed { since, cursor: None });
            }
        }
        Ok(())
    }

    /// One page of the walk over everything. Returns whether to go on at once.
    async fn step(&mut self, engine: &Engine) -> Result<bool> {
        let (cursor, urgent, found, pause) = match &mut self.everything {
            Everything::Rests { since, pause } => {
                if since.elapsed() < *pause {
                    return Ok(false);
                }
                (None, false, false, *pause)
            }
            Everything::Walks { cursor, urgent, found, pause } => (cursor.clone(), *urgent, *found, *pause),
        };
        let asked = engine.ask_about(Page { cursor, limit: if urgent { STEP } else { SLOW_STEP } }, None).await?;
        if asked.missing > 0 && !urgent {
            tracing::warn!(jobs = asked.missing, "stale entries had no job: all stale entries are checked");
            self.everything = Everything::urgent();
            return Ok(true);
        }
        let found = found || asked.missing > 0;
        self.everything = match asked.next {
            Some(next) => Everything::Walks { cursor: Some(next), urgent, found, pause },
            None if found => Everything::Rests { since: Instant::now(), pause: LOOK },
            None => Everything::Rests { since: Instant::now(), pause: (pause * 2).min(LONGEST_PAUSE) },
        };
        Ok(asked.missing > 0 && matches!(self.everything, Everything::Walks { .. }))
    }
}

/// The result of a page.
struct Asked {
    /// How many jobs were missing; they are queued now.
    missing: usize,
    next: Option<Bytes>,
}

impl Engine {
    /// Queues a job for each stale entry of a page that has none; with `since`, only for entries that went stale at
    /// that time or later. A queued job or a dead letter stays unchanged.
    async fn ask_about(&self, page: Page, since: Option<Timestamp>) -> Result<Asked> {
        let scanned = self.timed("stale", self.store.stale(page)).await?;
        let late = |(_, stale): &&(EntryId, Timestamp)| since.is_none_or(|since| *stale >= since);
        let job = |&(id, _): &_| NewJob { revive: false, ..NewJob::now(id, Lane::Recompute) };
        let jobs: Vec<NewJob> = scanned.entries.iter().filter(late).map(job).collect();
        let answers = match jobs.is_empty() {
            true => Vec::new(),
            false => self.timed("enqueue", self.queue.enqueue(&jobs)).await?,
        };
        let missing = answers.iter().filter(|answer| **answer == Enqueued::Queued).count();
        Ok(Asked { missing, next: scanned.next })
    }

    /// Checks all stale entries at once.
    pub(crate) async fn reconcile_all(&self) -> Result<()> {
        let mut page = Page::first(STEP);
        while let Some(next) = self.ask_about(page, None).await?.next {
            page = Page { cursor: Some(next), limit: STEP };
        }
        Ok(())
    }

    async fn sight(&self) -> Result<Sight> {
        let queue = self.timed("incarnation", self.queue.incarnation()).await?;
        let revision = self.timed("invalidate", self.store.invalidate(Invalidation::default())).await?.revision;
        let lookup = self.timed("lookup", self.store.lookup(&[])).await?;
        let sources =
            lookup.validity.sources.iter().map(|(source, validity)| (source.clone(), validity.epoch)).collect();
        Ok(Sight {
            at: lookup.now,
            revision,
            epochs: (lookup.validity.epoch, sources),
            incarnations: (lookup.incarnation, queue),
        })
    }
}

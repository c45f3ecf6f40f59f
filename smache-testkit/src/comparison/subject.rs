//! The tested side: a backend, through its traits.

use std::{collections::BTreeSet, sync::Arc};

use smache_core::{
    CacheStore, Error, ErrorKind, Incarnation, JobQueue, JobState, Page, ProgramStep, Result, Timestamp,
};

use super::{
    call::Call,
    facts::{Answer, Changed, Seen},
    world,
};
use crate::{queue::job, steps};

/// One process's view of a namespace.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) store: Option<Arc<dyn CacheStore>>,
    pub(super) queue: Option<Arc<dyn JobQueue>>,
}

/// What is stored, and when and where it was seen.
pub(super) struct Sight {
    pub(super) seen: Seen,
    pub(super) now: Timestamp,
    pub(super) here: Incarnation,
}

/// The revisions before the present one since which changes are asked for.
pub(super) const LOOKS_BACK: u64 = 3;

impl Subject {
    /// Does it and waits for the answer.
    pub(super) async fn call(&self, call: &Call) -> Answer {
        self.answer(call).await.unwrap_or_else(|error| refusal(&error))
    }

    async fn answer(&self, call: &Call) -> Result<Answer> {
        if let Some(queue) = &self.queue
            && let Some(answer) = ask_queue(&**queue, call).await?
        {
            return Ok(answer);
        }
        match &self.store {
            Some(store) => ask_store(&**store, call).await,
            None => Ok(Answer::Done),
        }
    }

    /// Looks at everything.
    pub(super) async fn see(&self) -> Result<Sight> {
        let mut seen = Seen::default();
        let mut at = None;
        if let Some(store) = &self.store {
            at = Some(see_store(&**store, &mut seen).await?);
        }
        if let Some(queue) = &self.queue {
            see_jobs(&**queue, &mut seen).await?;
            if at.is_none() {
                at = Some(see_moment(&**queue).await?);
            }
        }
        let (now, here) = at.ok_or_else(|| Error::new(ErrorKind::Unsupported, "neither a store nor a queue"))?;
        Ok(Sight { seen, now, here })
    }
}

/// An error as an answer.
pub(super) fn refusal(error: &Error) -> Answer {
    match error.kind() {
        kind @ (ErrorKind::Fenced | ErrorKind::IncarnationChanged) => Answer::Refused(kind),
        _ => Answer::Failed(format!("{error:?}")),
    }
}

async fn ask_store(store: &dyn CacheStore, call: &Call) -> Result<Answer> {
    Ok(match call.clone() {
        Call::Begin(begin) => Answer::Begun(store.begin(begin).await?),
        Call::Commit(commit) => Answer::Committed(store.commit(*commit).await?),
        Call::Abort(abort) => Answer::Held(vec![store.abort(abort).await?]),
        Call::Extend(runs, lease) => Answer::Held(store.extend(&runs, lease).await?),
        Call::Wait(wait) => Answer::Waits(store.record_waits(wait).await?),
        Call::Remove(id, token) => Answer::Held(vec![store.remove(&id, token).await?]),
        Call::Invalidate(invalidation) => Answer::Invalidated(store.invalidate(invalidation).await?),
        Call::Restart(step) => store.restart(step).await.map(|()| Answer::Done)?,
        Call::Lead(feed, holder, lease) => Answer::Led(store.lead(&feed, holder, lease).await?),
        Call::Resign(feed, fence) => store.resign(&feed, fence).await.map(|()| Answer::Done)?,
        Call::NewEpoch => Answer::Epoch(store.new_epoch().await?),
        Call::Attach(sources) => store.attach(&sources).await.map(|()| Answer::Done)?,
        Call::KeepAttached(valid_for) => store.keep_attached(valid_for).await.map(|()| Answer::Done)?,
        Call::Programs(step) => Answer::Programs(store.programs(step).await?),
        Call::Maintain => Answer::Maintained(store.maintain(super::expected::LIMIT).await?),
        _ => Answer::Done,
    })
}

async fn ask_queue(queue: &dyn JobQueue, call: &Call) -> Result<Option<Answer>> {
    Ok(Some(match call.clone() {
        Call::Enqueue(jobs) => Answer::Enqueued(queue.enqueue(&jobs).await?),
        Call::Reserve(reserve) => Answer::Reserved(queue.reserve(reserve).await?),
        Call::ExtendJobs(jobs, lease) => Answer::Held(queue.extend(&jobs, lease).await?),
        Call::Settle(settlements) => Answer::Settled(queue.settle(&settlements).await?),
        Call::Requeue(ids) => Answer::Count(queue.requeue(&ids).await?),
        Call::Discard(ids) => Answer::Count(queue.discard(&ids).await?),
        _ => return Ok(None),
    }))
}

async fn see_store(store: &dyn CacheStore, seen: &mut Seen) -> Result<(Timestamp, Incarnation)> {
    let ids = world::all_entries();
    let dependencies = world::dependencies();
    let sources = world::sources(u8::MAX);
    let (lookup, stats) = tokio::try_join!(store.lookup(&ids), store.stats())?;
    let (records, dependants, stale, positions, marked, named, programs) = tokio::try_join!(
        async {
            let mut records = Vec::with_capacity(ids.len());
            for (id, entry) in ids.iter().zip(&lookup.entries) {
                let record = store.read_record(id).await?.record;
                // A look-up and a look at the whole record are of one opinion.
                let entry_of_record = record.as_ref().map(|record| &record.entry);
                if entry_of_record != entry.as_ref() {
                    let message = format!("{id} is {entry:?} in a look-up, and {entry_of_record:?} as a record");
                    return Err(Error::new(ErrorKind::Corrupt, message));
                }
                records.push(record);
            }
            Ok::<_, Error>(records)
        },
        async {
            let mut dependants = Vec::with_capacity(dependencies.len());
            for dependency in &dependencies {
                dependants.push(store.dependants(dependency, Page::first(100)).await?.entries);
            }
            Ok::<_, Error>(dependants)
        },
        async {
            let mut page = Page::first(3);
            let mut stale = Vec::new();
            loop {
                let scanned = store.stale(page).await?;
                stale.extend(scanned.entries);
                match scanned.next {
                    Some(next) => page = Page { cursor: Some(next), limit: 3 },
                    None => return Ok::<_, Error>(stale),
                }
            }
        },
        store.positions(&sources),
        store.changed_since(stats.revision, &dependencies),
        store.changed_since(stats.revision.saturating_sub(LOOKS_BACK), &dependencies),
        store.programs(ProgramStep::default()),
    )?;
    seen.validity = Some((*lookup.validity).clone());
    seen.records = records;
    seen.dependants = dependants;
    seen.stale = stale;
    seen.positions = positions.positions;
    seen.stats = Some(stats);
    seen.marked = marked.dependencies.into_iter().collect();
    seen.changed = Some(Changed::Named(named.dependencies.into_iter().collect::<BTreeSet<_>>()));
    seen.programs = programs.programs.into_iter().map(|one| (one.id, one.until, one.notes)).collect();
    Ok((lookup.now, lookup.incarnation))
}

async fn see_jobs(queue: &dyn JobQueue, seen: &mut Seen) -> Result<()> {
    let ids = world::all_entries();
    let (counts, listed, found) = tokio::try_join!(
        queue.counts(),
        async {
            let mut listed = Vec::new();
            for state in [JobState::Queued, JobState::Running, JobState::DeadLetter] {
                let mut jobs = Vec::new();
                let mut cursor = None;
                loop {
                    let page = queue.list(state, cursor, 4).await?;
                    jobs.extend(page.jobs);
                    cursor = page.next;
                    if cursor.is_none() {
                        break;
                    }
                }
                listed.push((state, jobs));
            }
            Ok::<_, Error>(listed)
        },
        async {
            let mut found = Vec::with_capacity(ids.len());
            for id in &ids {
                found.push(queue.find(id).await?);
            }
            Ok::<_, Error>(found)
        },
    )?;
    (seen.counts, seen.listed, seen.found) = (Some(counts), listed, found);
    Ok(())
}

/// A queue says the time only by its jobs: one that is due at once is due now.
async fn see_moment(queue: &dyn JobQueue) -> Result<(Timestamp, Incarnation)> {
    let id = steps::id(u32::MAX);
    queue.enqueue(&[job(id)]).await?;
    let now = queue.find(&id).await?.map(|job| job.at).unwrap_or_default();
    queue.discard(&[id]).await?;
    Ok((now, queue.incarnation().await?))
}

//! The engine: reads, runs and invalidations on the state that all parts of a system share.

mod accept;
mod attach;
mod background;
mod breaker;
mod generation;
mod in_transaction;
mod invalidate;
mod lease;
mod nested;
mod observe;
mod read;
mod register;
mod registry;
mod remembered;
mod replaced;
mod revival;
mod routes;
mod run;
mod single_flight;
mod wait_graph;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub(crate) use self::{
    background::{Handled, Steps},
    invalidate::{LONG, of_tag},
    register::{Functions, Notes, Owner, PARKED, Register, is_parked},
    registry::{Function, Registry},
    revival::{PERMANENT, VANISHED},
    routes::{Moment, Routes},
    run::{Mode, attempt, call, stopped},
};
use crate::{
    CacheStore, DataSource, EntityKind, EntityType, EntryId, Error, ErrorKind, JobQueue, JobWrites, Lane, Namespace,
    NewJob, Result, SourceId, counters::Tally, settings::Settings, tracking::States,
};

/// The state that all parts of a system share.
pub(crate) struct Engine {
    pub(crate) namespace: Namespace,
    pub(crate) store: Arc<dyn CacheStore>,
    pub(crate) queue: Arc<dyn JobQueue>,
    pub(crate) registry: Registry,
    pub(crate) sources: BTreeMap<SourceId, Arc<dyn DataSource>>,
    pub(crate) routes: Routes,
    pub(crate) states: States,
    pub(crate) settings: Settings,
    pub(crate) single_flight: single_flight::SingleFlight,
    pub(crate) leases: lease::Leases,
    pub(crate) background: background::Background,
    pub(crate) tally: Tally,
    pub(crate) breaker: breaker::Breaker,
    pub(crate) swarms: breaker::Swarms,
    pub(crate) sampler: observe::Sampler,
    pub(crate) generation: generation::Generation,
    pub(crate) outages: revival::Outages,
    pub(crate) ended_early: run::EndedEarly,
    pub(crate) revivals: revival::Revivals,
    pub(crate) programs: Register,
    asked: replaced::Asked,
    /// Stale entries whose jobs could not be enqueued.
    owed: Mutex<BTreeSet<EntryId>>,
}

/// How many entries without a job are remembered; the reconciler finds the others.
const MOST_OWED: usize = 100_000;

/// The description of a system, checked and connected.
pub(crate) struct Parts {
    pub(crate) namespace: Namespace,
    pub(crate) store: Arc<dyn CacheStore>,
    pub(crate) queue: Arc<dyn JobQueue>,
    pub(crate) registry: Registry,
    pub(crate) sources: BTreeMap<SourceId, Arc<dyn DataSource>>,
    pub(crate) states: States,
    pub(crate) settings: Settings,
    /// The name of the program.
    pub(crate) program: Option<String>,
}

impl Engine {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { namespace, store, queue, registry, sources, states, settings, program } = parts;
        Self {
            namespace,
            store,
            queue,
            routes: Routes::new(&sources, &registry),
            registry,
            sources,
            states,
            settings,
            single_flight: Default::default(),
            leases: Default::default(),
            background: Default::default(),
            tally: Default::default(),
            breaker: Default::default(),
            swarms: Default::default(),
            sampler: Default::default(),
            generation: Default::default(),
            outages: Default::default(),
            ended_early: Default::default(),
            revivals: Default::default(),
            programs: Register::of(program),
            asked: Default::default(),
            owed: Default::default(),
        }
    }

    /// Bounds the time of a step of the store or the queue, so that nothing hangs.
    pub(crate) async fn timed<T>(&self, step: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        with_timeout(self.settings.store_timeout, step, work).await
    }

    /// The same with a bound that is `times` as long, for a step whose work grows with the dependants of a change.
    pub(crate) async fn timed_for<T>(
        &self,
        times: u32,
        step: &'static str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        with_timeout(self.settings.store_timeout.saturating_mul(times), step, work).await
    }

    pub(crate) fn source_of<T: EntityType>(&self) -> Result<&Arc<dyn DataSource>> {
        let source = self.sources.iter().find(|(id, _)| id.as_str() == T::SOURCE).map(|(_, source)| source);
        let source = source.ok_or_else(|| {
            let fix = "give it to the builder with `.source(…)`";
            Error::new(ErrorKind::Unregistered, format!("the source `{}` is not registered: {fix}", T::SOURCE))
        })?;
        if source.kind() != EntityKind::of::<T>() {
            let held = source.kind().name();
            let asked = EntityKind::of::<T>().name();
            let message = format!("the source `{}` holds `{held}` and was asked for `{asked}`", T::SOURCE);
            return Err(Error::new(ErrorKind::Unregistered, message));
        }
        Ok(source)
    }

    /// Enqueues the job of an announcement as an urgent one of the lane that never waits behind functions, so that it
    /// is on time. If that fails, the store or the reconciler makes an ordinary job.
    pub(crate) async fn enqueue_announced(&self, id: EntryId, delay: Duration) {
        let job = NewJob { delay, priority: 0, ..NewJob::now(id, Lane::Propagation) };
        if let Err(error) = self.timed("enqueue", self.queue.enqueue(&[job])).await {
            tracing::warn!(error = %error.report(), "an announcement that is not ended may be reported late");
        }
    }

    /// Enqueues the jobs that a store reported instead of writing them itself.
    ///
    /// After a failure the next round of maintenance enqueues them. After a crash the reconciler finds every stale
    /// entry without a job. Only a dead letter stays one, because the reconciler cannot know that the change is new.
    pub(crate) async fn enqueue_reported(&self, ids: &[EntryId], delay: Duration) {
        if ids.is_empty() || self.store.job_writes() == JobWrites::SameStep {
            return;
        }
        let job = |&id| NewJob { delay, ..NewJob::now(id, Lane::Recompute) };
        let mut left = ids;
        while !left.is_empty() {
            let (chunk, rest) = left.split_at(left.len().min(500));
            let jobs: Vec<NewJob> = chunk.iter().map(job).collect();
            if let Err(error) = self.timed("enqueue", self.queue.enqueue(&jobs)).await {
                tracing::warn!(error = %error.report(), "stale entries wait for maintenance: they could not be enqueued");
                let mut owed = self.owed();
                let room = MOST_OWED.saturating_sub(owed.len());
                owed.extend(left.iter().take(room));
                return;
            }
            left = rest;
        }
    }

    /// Enqueues the jobs that could not be enqueued before.
    pub(crate) async fn enqueue_owed(&self) {
        let owed: Vec<EntryId> = std::mem::take(&mut *self.owed()).into_iter().collect();
        self.enqueue_reported(&owed, Duration::ZERO).await;
    }

    fn owed(&self) -> MutexGuard<'_, BTreeSet<EntryId>> {
        // Insertions only: whole after a panic.
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn with_timeout<T>(bound: Duration, step: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(bound, work).await {
        Ok(result) => result.map_err(|error| error.of_backend(step)),
        Err(_) => {
            Err(Error::new(ErrorKind::Timeout, format!("the backend took longer than {bound:?}")).of_backend(step))
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("namespace", &self.namespace)
            .field("store", &self.store)
            .field("queue", &self.queue)
            .field("functions", &self.registry)
            .field("sources", &self.sources.keys())
            .finish_non_exhaustive()
    }
}

//! The system: everything that a program needs to read, change and recompute results.

mod accept;
mod admin;
mod attach;
mod audit;
mod background;
mod barrier;
mod breaker;
mod builder;
mod call_key;
mod change;
mod counters;
mod doctor;
mod drawing;
mod feed;
mod impact;
mod in_transaction;
mod intent;
mod lease;
mod maintenance;
mod meta;
mod nested;
mod programs;
mod read;
mod reconcile;
mod registry;
mod remembered;
mod replaced;
mod revival;
mod routes;
mod run;
mod run_until_idle;
mod single_flight;
mod store_clock;
mod task;
mod verify;
mod wait_graph;
mod why;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub use self::{
    admin::{DeadLetter, Stats},
    audit::{Audit, FunctionAudit, Strictness, note_read},
    builder::{Builder, StoreFailure},
    counters::Counters,
    doctor::{Diagnosis, DiagnosisPart},
    impact::{Impact, ImpactedFunction},
    in_transaction::{InTransaction, Uncommitted},
    intent::{Intent, IntentBuilder},
    programs::Program,
    verify::Verified,
    why::{Cause, Why, WhyDependsOn, WhyState, WhyStored},
};
pub(crate) use self::{
    background::Handled,
    call_key::CallKey,
    counters::{Tally, count},
    intent::overdue,
    meta::Meta,
    nested::{CallFrame, ChildCall, Compared},
    programs::{Owner, Unknown},
    read::jittered,
    registry::{Function, NameHash, Registry},
    revival::{PERMANENT, VANISHED},
    routes::{Moment, Routes},
    run::{Attempt, EndedEarly, Mode, Ran, Seen, Stored, attempt, stopped},
    task::Tasks,
};
use crate::{
    CacheStore, DataSource, EntityKind, EntityType, Error, ErrorKind, JobQueue, JobWrites, Lane, Namespace, NewJob,
    Result, SourceId, cx::States, worker::WorkerBuilder,
};

/// The handle of an application: reads results, reports changes, starts workers. Cheap to clone.
///
/// The background tasks (feeds and maintenance) end when the last clone is dropped, or at [`shutdown`](Self::shutdown).
#[derive(Clone)]
pub struct Smache {
    pub(crate) engine: Arc<Engine>,
    tasks: Arc<Tasks>,
}

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
    pub(crate) sampler: audit::Sampler,
    pub(crate) generation: in_transaction::Generation,
    pub(crate) outages: revival::Outages,
    pub(crate) ended_early: EndedEarly,
    pub(crate) revivals: revival::Revivals,
    pub(crate) programs: programs::Register,
    asked: replaced::Asked,
    /// Stale entries whose jobs could not be enqueued.
    owed: Mutex<BTreeSet<crate::EntryId>>,
}

/// How many entries without a job are remembered; the reconciler finds the others.
const MOST_OWED: usize = 100_000;

/// Bounds and choices of a system.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) store_timeout: Duration,
    pub(crate) wait_timeout: Option<Duration>,
    /// How long a reader waits for the store at least, before it goes around it.
    pub(crate) read_patience: Duration,
    /// After how many failures in a row readers go around the store at once; zero means never.
    pub(crate) breaker_failures: u32,
    pub(crate) between_probes: Duration,
    pub(crate) run_lease: Duration,
    pub(crate) feed_validity: Duration,
    pub(crate) max_argument_bytes: usize,
    pub(crate) max_value_bytes: usize,
    pub(crate) max_dependencies: usize,
    pub(crate) codec: crate::Codec,
    /// How long the entries of a function stay when no program has it.
    pub(crate) forget_after: Duration,
    pub(crate) store_failure: StoreFailure,
    pub(crate) strictness: Strictness,
    pub(crate) outages: Option<crate::computed::Outages>,
}

impl Smache {
    /// Starts the description of a system. The namespace separates applications that share a server.
    pub fn builder(namespace: impl AsRef<str>) -> Builder {
        Builder::new(namespace.as_ref())
    }

    /// A worker of this program: it recomputes stale entries, in the readers' process or in another one.
    pub fn worker(&self) -> WorkerBuilder {
        WorkerBuilder::new(Arc::clone(&self.engine))
    }

    /// Ends the feeds and the maintenance of this handle and of all its clones, and passes their leadership to other
    /// processes at once instead of after its lease.
    ///
    /// Computations without a reader may finish and store their results for 5 seconds; then they give their leases
    /// back. Other background work may take as long as a few steps of the store. Afterwards only the handles hold the
    /// store: it is dropped with the last one. Workers are shut down by their own handles, before or after this.
    ///
    /// # Cancel safety
    /// After a dropped call everything ends as well; call it again to wait for the end.
    pub async fn shutdown(&self) {
        self.tasks.shutdown(&self.engine).await;
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.tasks
    }
}

impl Engine {
    /// Bounds the time of a step of the store or the queue, so that nothing hangs.
    pub(crate) async fn timed<T>(&self, step: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        with_timeout(self.settings.store_timeout, step, work).await
    }

    /// The same with a bound that is `times` as long, for a step whose work grows with the dependants of a change.
    async fn timed_for<T>(&self, times: u32, step: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        with_timeout(self.settings.store_timeout.saturating_mul(times), step, work).await
    }

    pub(crate) fn source_of<T: EntityType>(&self) -> Result<&Arc<dyn DataSource>> {
        let source = self.sources.iter().find(|(id, _)| id.as_str() == T::SOURCE).map(|(_, source)| source);
        let source = source.ok_or_else(|| {
            let fix = "give it to the builder with `.source(…)`";
            Error::new(ErrorKind::Unregistered, format!("the source `{}` is not registered: {fix}", T::SOURCE))
        })?;
        if source.kind() != EntityKind::of::<T>() {
            let (held, asked) = (source.kind().name(), EntityKind::of::<T>().name());
            let message = format!("the source `{}` holds `{held}` and was asked for `{asked}`", T::SOURCE);
            return Err(Error::new(ErrorKind::Unregistered, message));
        }
        Ok(source)
    }

    /// Enqueues the job of an announcement as an urgent one of the lane that never waits behind functions, so that it
    /// is on time. If that fails, the store or the reconciler makes an ordinary job.
    pub(crate) async fn enqueue_announced(&self, id: crate::EntryId, delay: Duration) {
        let job = NewJob { delay, priority: 0, ..NewJob::now(id, Lane::Propagation) };
        if let Err(error) = self.timed("enqueue", self.queue.enqueue(&[job])).await {
            tracing::warn!(error = %error.report(), "an announcement that is not ended may be reported late");
        }
    }

    /// Enqueues the jobs that a store reported instead of writing them itself.
    ///
    /// After a failure the next round of maintenance enqueues them. After a crash the reconciler finds every stale
    /// entry without a job. Only a dead letter stays one, because the reconciler cannot know that the change is new.
    pub(crate) async fn enqueue_reported(&self, ids: &[crate::EntryId], delay: Duration) {
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
        let owed: Vec<crate::EntryId> = std::mem::take(&mut *self.owed()).into_iter().collect();
        self.enqueue_reported(&owed, Duration::ZERO).await;
    }

    fn owed(&self) -> MutexGuard<'_, BTreeSet<crate::EntryId>> {
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

impl fmt::Debug for Smache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.engine.fmt(f)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smache")
            .field("namespace", &self.namespace)
            .field("store", &self.store)
            .field("queue", &self.queue)
            .field("functions", &self.registry)
            .field("sources", &self.sources.keys())
            .finish_non_exhaustive()
    }
}

//! Workers recompute stale entries, in the readers' process or in any other.

mod handle;
mod job;
mod lane;
mod settle;

use std::{sync::Arc, time::Duration};

use tokio::sync::{Semaphore, watch};

pub use self::handle::Worker;
pub(crate) use self::job::run_due;
use crate::{Lane, engine::Engine};

/// How a worker works.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) concurrency: usize,
    pub(crate) batch: usize,
    pub(crate) lease: Duration,
    pub(crate) poll: Duration,
    pub(crate) max_errors: u32,
    pub(crate) max_crashes: u32,
    pub(crate) backoff: Duration,
    pub(crate) max_backoff: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            concurrency: 8,
            batch: 64,
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            max_errors: 5,
            max_crashes: 3,
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(300),
        }
    }
}

/// The description of a worker.
#[derive(Debug)]
#[must_use = "a worker does nothing until `start`"]
pub struct WorkerBuilder {
    engine: Arc<Engine>,
    policy: Policy,
}

impl WorkerBuilder {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, policy: Policy::default() }
    }

    /// How many functions run at a time. 8 by default, at least 1. The propagation lane has as many places again, so
    /// that it never waits behind slow functions.
    pub fn concurrency(mut self, functions: usize) -> Self {
        self.policy.concurrency = functions.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// How many jobs are reserved in one round trip at most. 64 by default, at least 1.
    pub fn batch(mut self, jobs: usize) -> Self {
        self.policy.batch = jobs.max(1);
        self
    }

    /// How long a worker may be silent before other workers get its jobs. 30 seconds by default; heartbeats extend it.
    pub fn job_lease(mut self, lease: Duration) -> Self {
        self.policy.lease = lease.max(Duration::from_millis(10));
        self
    }

    /// How often the worker asks the queue when no hint comes. Every second by default.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.policy.poll = interval.max(Duration::from_millis(1));
        self
    }

    /// After how many errors in a row a job becomes a dead letter. 5 by default, at least 1.
    pub fn max_attempts(mut self, errors: u32) -> Self {
        self.policy.max_errors = errors.max(1);
        self
    }

    /// After how many crashes of its worker in a row a job becomes a dead letter. 3 by default, at least 1.
    pub fn max_crashes(mut self, crashes: u32) -> Self {
        self.policy.max_crashes = crashes.max(1);
        self
    }

    /// The pause after the first error, doubled with each further one up to `most`, with jitter. A second and five
    /// minutes by default.
    pub fn backoff(mut self, first: Duration, most: Duration) -> Self {
        self.policy.backoff = first;
        self.policy.max_backoff = most.max(first);
        self
    }

    /// Starts the worker on the current runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use = "a worker stops when its handle is dropped"]
    pub fn start(self) -> Worker {
        let (stop, stopping) = watch::channel(Stop::No);
        let policy = Arc::new(self.policy);
        let (settler, settling) = settle::start(Arc::clone(&self.engine), policy.lease);
        let (hints, hinted) = watch::channel(());
        let handled = self.engine.background.handle();
        let workers = self.engine.background.workers().clone();
        let listen = lane::listen(Arc::clone(&self.engine), policy.poll, hints, stopping.clone());
        let mut tasks = vec![tokio::spawn(workers.counted(listen))];
        for lane in Lane::ALL {
            let lane = lane::LaneLoop {
                engine: Arc::clone(&self.engine),
                policy: Arc::clone(&policy),
                lane,
                settler: settler.clone(),
                stop: stopping.clone(),
                hints: hinted.clone(),
            };
            tasks.push(tokio::spawn(workers.counted(lane.run())));
        }
        drop(settler);
        Worker::new(stop, tasks, settling, handled)
    }
}

/// Waits until a shutdown is at least at this stage; a dropped handle counts as the last one.
pub(crate) async fn until(stop: &mut watch::Receiver<Stop>, least: Stop) {
    // The returned guard must not live across an await, so it ends here.
    drop(stop.wait_for(|stop| *stop >= least).await);
}

/// The stage of a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    No,
    /// Take no new jobs.
    Drain,
    /// Hand back what still runs.
    Now,
}

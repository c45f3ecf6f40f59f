//! Settling: the ends of jobs go to the queue in batches, and heartbeats keep the running ones.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinHandle};

use crate::{EntryId, Job, JobEnd, Settlement, Token, engine::Engine};

/// How many ends go to the queue in one step.
const BATCH: usize = 256;
/// How often a batch is handed to a queue that fails; then the leases lapse and the jobs run again.
const TRIES: u32 = 5;

/// Takes the ends of jobs. Cheap to clone; its task ends with the last clone.
#[derive(Clone)]
pub(crate) struct Settler {
    ends: mpsc::Sender<Settlement>,
    held: Arc<Mutex<Held>>,
}

/// The running jobs. Those of one reservation share its token.
type Held = HashSet<(EntryId, Token)>;

impl Settler {
    /// Keeps the reservation of a job alive until the job is settled.
    pub(crate) fn watch(&self, job: &Job) {
        lock(&self.held).insert((job.id, job.token));
    }

    pub(crate) async fn settle(&self, job: &Job, end: JobEnd) {
        let settlement = Settlement { id: job.id, token: job.token, end };
        if self.ends.send(settlement).await.is_err() {
            tracing::warn!(entry = %job.id, "the worker is gone: the job runs again when its lease lapses");
        }
    }
}

/// Starts the task that settles.
pub(crate) fn start(engine: Arc<Engine>, lease: Duration) -> (Settler, JoinHandle<()>) {
    let (ends, mut ended) = mpsc::channel(BATCH * 4);
    let held = Arc::new(Mutex::new(Held::new()));
    let settler = Settler { ends, held: Arc::clone(&held) };
    let workers = engine.background.workers().clone();
    let task = tokio::spawn(workers.counted(async move {
        let mut beat = tokio::time::interval(lease / 3);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                count = ended.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return;
                    }
                    settle(&engine, &batch).await;
                    let mut held = lock(&held);
                    for settlement in batch.drain(..) {
                        held.remove(&(settlement.id, settlement.token));
                    }
                }
                _ = beat.tick() => extend(&engine, &held, lease).await,
            }
        }
    }));
    (settler, task)
}

async fn settle(engine: &Engine, batch: &[Settlement]) {
    let mut pause = Duration::from_millis(20);
    for attempt in 1.. {
        match engine.timed("settle", engine.queue.settle(batch)).await {
            Ok(_) => return,
            Err(error) if attempt == TRIES => {
                tracing::error!(error = %error.report(), jobs = batch.len(), "ended jobs could not be settled: they run again");
                return;
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause *= 3;
    }
}

async fn extend(engine: &Engine, held: &Mutex<Held>, lease: Duration) {
    let jobs: Vec<(EntryId, Token)> = lock(held).iter().copied().collect();
    if jobs.is_empty() {
        return;
    }
    if let Err(error) = engine.timed("extend", engine.queue.extend(&jobs, lease)).await {
        // A job that is lost runs elsewhere too; the entry's own lease decides which result counts.
        tracing::warn!(error = %error.report(), "the reservations of running jobs could not be extended");
    }
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    // Insertions and removals only: whole after a panic.
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

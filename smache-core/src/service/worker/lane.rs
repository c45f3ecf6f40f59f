//! One lane of a worker: reserves jobs for its free places and starts them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::Instant,
};

use super::{Policy, Stop, job::UNKNOWN, settle::Settler, until};
use crate::{
    EntryId, JobEnd, Lane, Reserve,
    backoff::jittered,
    engine::{Engine, Owner},
};

/// How much later than others a program asks for jobs after it got some that it cannot do.
const COURTESY: Duration = Duration::from_millis(300);

/// The time between two hints.
const AT_LEAST: Duration = Duration::from_millis(2);

pub(crate) struct LaneLoop {
    pub(crate) engine: Arc<Engine>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) lane: Lane,
    pub(crate) settler: Settler,
    pub(crate) stop: watch::Receiver<Stop>,
    pub(crate) hints: watch::Receiver<()>,
}

impl LaneLoop {
    pub(crate) async fn run(mut self) {
        let places = Arc::new(Semaphore::new(self.policy.concurrency));
        let (cancel, cancelled) = watch::channel(false);
        let mut running = JoinSet::new();
        let mut failed: Option<Instant> = None;
        // A request without an answer, with the places for the jobs that it may have reserved.
        let mut unanswered: Option<(Reserve, Vec<OwnedSemaphorePermit>)> = None;
        let mut met_unknown: Option<Instant> = None;
        // An announced change could not be reported: maybe only another program has its source.
        let declined = Arc::new(AtomicBool::new(false));
        loop {
            if declined.swap(false, Ordering::AcqRel) {
                met_unknown = Some(Instant::now());
            }
            if met_unknown.is_some_and(|met| met.elapsed() < UNKNOWN * 2) {
                // The queue notifies all programs of a due job at once: the one that has its function must not lose
                // every race.
                tokio::select! {
                    () = tokio::time::sleep(jittered(COURTESY)) => {}
                    () = until(&mut self.stop, Stop::Drain) => {}
                }
            }
            // Marked before the queue is asked: a hint in between ends the wait below at once.
            self.hints.mark_unchanged();
            let (reserve, mut free) = match unanswered.take() {
                Some((lost, free)) => (lost.again(), free),
                None => {
                    let place = tokio::select! {
                        biased;
                        () = until(&mut self.stop, Stop::Drain) => break,
                        place = Arc::clone(&places).acquire_owned() => place.expect("the semaphore is never closed"),
                    };
                    while running.try_join_next().is_some() {}
                    let mut free = vec![place];
                    while free.len() < self.policy.batch
                        && let Ok(place) = Arc::clone(&places).try_acquire_owned()
                    {
                        free.push(place);
                    }
                    (Reserve::new(self.lane, free.len(), self.policy.lease), free)
                }
            };
            let (jobs, next) = match self.engine.timed("reserve", self.engine.queue.reserve(reserve.clone())).await {
                Ok(reservation) => (reservation.jobs, reservation.next_due.unwrap_or(self.policy.poll)),
                Err(error) => {
                    tracing::warn!(error = %error.report(), "the worker cannot reserve jobs and tries again");
                    failed = Some(Instant::now());
                    unanswered = Some((reserve, free));
                    self.pause(self.policy.poll).await;
                    if *self.stop.borrow() != Stop::No {
                        break;
                    }
                    continue;
                }
            };
            let all_free = free.len();
            let got = jobs.len();
            let unknown = |id: &EntryId| !id.is_announcement() && self.engine.registry.by_key(id.function()).is_none();
            let unknown: Vec<EntryId> = jobs.iter().map(|job| job.id).filter(unknown).collect();
            if !unknown.is_empty() {
                self.engine.look_at_programs().await;
                // A pause for a program that has ended would only slow down this one.
                if unknown.iter().any(|id| self.engine.programs.owner(id.function()) == Owner::Living) {
                    met_unknown = Some(Instant::now());
                }
            }
            // A step whose answer was lost may also arrive late, and reserve jobs that no request asks for again: they
            // come back after their lease, as after a crash of the worker.
            let doubt = self.policy.lease.saturating_mul(2).saturating_add(self.policy.poll);
            let doubtful = failed.is_some_and(|failed| failed.elapsed() < doubt);
            for job in jobs {
                let place = free.pop();
                let (engine, policy, settler) =
                    (Arc::clone(&self.engine), Arc::clone(&self.policy), self.settler.clone());
                let cancelled = cancelled.clone();
                let declined = Arc::clone(&declined);
                settler.watch(&job);
                running.spawn(self.engine.background.workers().counted(async move {
                    let end = super::job::run(&engine, &policy, &job, doubtful, cancelled).await;
                    if job.id.is_announcement() && matches!(end, JobEnd::Retry { .. }) {
                        declined.store(true, Ordering::Release);
                    }
                    drop(place);
                    settler.settle(&job, end).await;
                }));
            }
            drop(free);
            if got < all_free {
                self.pause(next.min(self.policy.poll)).await;
            }
        }
        self.drain(running, &cancel).await;
    }

    /// Waits until a job may be due, a hint comes or the worker stops.
    async fn pause(&mut self, at_most: Duration) {
        tokio::select! {
            () = tokio::time::sleep(at_most) => {}
            Ok(()) = self.hints.changed() => {}
            () = until(&mut self.stop, Stop::Drain) => {}
        }
    }

    /// Lets the running jobs finish, or hands them back when the grace is over.
    async fn drain(&mut self, mut running: JoinSet<()>, cancel: &watch::Sender<bool>) {
        let mut handed_back = false;
        loop {
            tokio::select! {
                next = running.join_next() => match next {
                    Some(Ok(())) => {}
                    Some(Err(error)) => tracing::error!(%error, "a job ended in a panic outside of its function"),
                    None => return,
                },
                () = until(&mut self.stop, Stop::Now), if !handed_back => {
                    handed_back = true;
                    // Every run listens; an error means that none is running.
                    let _ = cancel.send(true);
                }
            }
        }
    }
}

/// Hands the hints of the queue to the lanes of a worker. A lane also sees a hint that came between two waits.
pub(crate) async fn listen(
    engine: Arc<Engine>,
    poll: Duration,
    hints: watch::Sender<()>,
    mut stop: watch::Receiver<Stop>,
) {
    loop {
        let pause = tokio::select! {
            waited = engine.queue.wait(poll) => match waited {
                Ok(()) => {
                    hints.send_replace(());
                    // Hints may come without a job, even all of them.
                    AT_LEAST
                }
                Err(error) => {
                    tracing::debug!(error = %error.report(), "no hints from the queue: the worker polls");
                    poll
                }
            },
            () = until(&mut stop, Stop::Drain) => return,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = until(&mut stop, Stop::Drain) => return,
        }
    }
}

//! Readers do not wait for a store that fails: after some failures in a row they go around it at once, one probe at a
//! time finds out when it answers again, and a look-up that hangs is given up near the usual time of an answer.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{Engine, with_timeout};
use crate::{Error, Result, counters::count};

/// How many times the usual time of an answer a reader waits.
const TIMES_USUAL: u32 = 4;
/// The pause between two warnings of a kind.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(1);

/// Knowledge of the store from its last answers.
#[derive(Debug, Default)]
pub(crate) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Failures in a row.
    failures: u32,
    /// The last failure, while readers go around the store.
    open: Option<Open>,
    /// The usual time of an answer and its deviation, estimated as TCP does.
    usual: Option<(Duration, Duration)>,
}

#[derive(Debug)]
struct Open {
    error: Error,
    probe_at: Instant,
    probing: bool,
}

/// The next step of a reader.
enum Way {
    /// Ask the store, and wait this long.
    Ask(Duration),
    /// Go around the store, because of this error; whether the caller starts a probe.
    Around(Error, bool),
}

impl Breaker {
    /// Whether readers go around the store.
    pub(crate) fn is_open(&self) -> bool {
        self.state().open.is_some()
    }

    fn way(&self, patience: Duration, bound: Duration, between_probes: Duration) -> Way {
        let mut state = self.state();
        let usual = state.usual.map_or(bound, |(usual, off)| (usual + off * TIMES_USUAL) * TIMES_USUAL);
        let Some(open) = &mut state.open else { return Way::Ask(usual.max(patience).min(bound)) };
        let now = Instant::now();
        let probe = !open.probing && now >= open.probe_at;
        if probe {
            open.probing = true;
            open.probe_at = now + between_probes;
        }
        Way::Around(open.error.clone(), probe)
    }

    /// Learns from a step of the store.
    pub(crate) fn note<T>(&self, result: &Result<T>, took: Duration, most: u32, between_probes: Duration) {
        let mut state = self.state();
        match result {
            Err(error) if error.is_transient() => {
                state.failures = state.failures.saturating_add(1);
                let probe_at = Instant::now() + between_probes;
                let failures = state.failures;
                match &mut state.open {
                    Some(open) => open.error = error.clone(),
                    None if most > 0 && failures >= most => {
                        state.open = Some(Open { error: error.clone(), probe_at, probing: false });
                        drop(state);
                        tracing::warn!(failures, error = %error.report(), "readers go around the store: it fails");
                    }
                    None => {}
                }
            }
            // The store answers, even if it refuses.
            _ => {
                state.failures = 0;
                state.usual = Some(match state.usual {
                    None => (took, took / 2),
                    Some((usual, off)) => ((usual * 7 + took) / 8, (off * 3 + usual.abs_diff(took)) / 4),
                });
                if state.open.take().is_some() {
                    drop(state);
                    tracing::info!("the store answers again: readers ask it");
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Independent numbers: right after a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a probe when it is dropped.
struct Probing(Arc<Engine>);

impl Drop for Probing {
    fn drop(&mut self) {
        if let Some(open) = &mut self.0.breaker.state().open {
            open.probing = false;
        }
    }
}

impl Engine {
    /// A step of a reader. A reader that may go around the store does not wait long for it, and does not wait at all
    /// while it fails.
    pub(crate) async fn asked<T>(
        self: &Arc<Self>,
        may_go_around: bool,
        step: &'static str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        if !may_go_around {
            return self.timed_noted(self.settings.store_timeout, step, work).await;
        }
        let settings = &self.settings;
        match self.breaker.way(settings.read_patience, settings.store_timeout, settings.between_probes) {
            Way::Ask(bound) => self.timed_noted(bound, step, work).await,
            Way::Around(error, probe) => {
                if probe {
                    self.probe();
                }
                count(&self.tally.skipped);
                Err(error)
            }
        }
    }

    /// A step whose outcome the breaker learns from.
    pub(crate) async fn timed_noted<T>(
        &self,
        bound: Duration,
        step: &'static str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let began = Instant::now();
        let result = with_timeout(bound, step, work).await;
        self.breaker.note(&result, began.elapsed(), self.settings.breaker_failures, self.settings.between_probes);
        result
    }

    /// Sends an empty look-up to the store in the background, with all the time that a step may take.
    fn probe(self: &Arc<Self>) {
        let probing = Probing(Arc::clone(self));
        self.background.spawn(async move {
            let engine = &probing.0;
            // The breaker has noted the outcome.
            drop(engine.timed_noted(engine.settings.store_timeout, "lookup", engine.store.lookup(&[])).await);
        });
    }
}

/// Warnings that come in swarms while a backend fails: logs one a second of each kind, with the number of those left
/// out.
#[derive(Debug, Default)]
pub(crate) struct Swarm(Mutex<(Option<Instant>, u64)>);

impl Swarm {
    /// Whether to warn, with the number of warnings left out since the last one.
    pub(crate) fn warns(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if state.0.is_some_and(|last| now < last + BETWEEN_WARNINGS) {
            state.1 += 1;
            return None;
        }
        state.0 = Some(now);
        Some(std::mem::take(&mut state.1))
    }
}

/// The kinds of warnings that come in swarms.
#[derive(Debug, Default)]
pub(crate) struct Swarms {
    pub(crate) around: Swarm,
    pub(crate) served_stale: Swarm,
    pub(crate) not_stored: Swarm,
    pub(crate) not_given_back: Swarm,
    pub(crate) unreadable: Swarm,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    const PATIENCE: Duration = Duration::from_millis(100);
    const BOUND: Duration = Duration::from_secs(5);
    const PAUSE: Duration = Duration::from_secs(1);

    fn fail(breaker: &Breaker) {
        let error = Error::new(ErrorKind::Unavailable, "it is away");
        breaker.note::<()>(&Err(error), Duration::ZERO, 3, PAUSE);
    }

    fn answer(breaker: &Breaker, took: Duration) {
        breaker.note(&Ok(()), took, 3, PAUSE);
    }

    fn bound(breaker: &Breaker) -> Option<Duration> {
        match breaker.way(PATIENCE, BOUND, PAUSE) {
            Way::Ask(bound) => Some(bound),
            Way::Around(..) => None,
        }
    }

    fn probes(breaker: &Breaker) -> bool {
        matches!(breaker.way(PATIENCE, BOUND, PAUSE), Way::Around(_, true))
    }

    #[tokio::test(start_paused = true)]
    async fn the_bound_of_a_reader_follows_the_usual_time_of_an_answer() {
        let breaker = Breaker::default();
        assert_eq!(bound(&breaker), Some(BOUND), "nothing is known yet");
        for _ in 0..50 {
            answer(&breaker, Duration::from_millis(1));
        }
        assert_eq!(bound(&breaker), Some(PATIENCE), "at least that long");
        answer(&breaker, Duration::from_secs(1));
        assert!(bound(&breaker).is_some_and(|bound| bound > Duration::from_secs(2)), "a slow answer at once");
        for _ in 0..50 {
            answer(&breaker, Duration::from_secs(10));
        }
        assert_eq!(bound(&breaker), Some(BOUND), "at most that long");
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_and_probes_one_at_a_time() {
        let breaker = Breaker::default();
        fail(&breaker);
        fail(&breaker);
        answer(&breaker, Duration::ZERO);
        fail(&breaker);
        fail(&breaker);
        assert!(!breaker.is_open(), "two in a row");
        fail(&breaker);
        assert!(breaker.is_open());
        assert!(!probes(&breaker), "not at once");
        tokio::time::advance(PAUSE).await;
        assert!(probes(&breaker));
        tokio::time::advance(PAUSE).await;
        assert!(!probes(&breaker), "one is under way");
        if let Some(open) = &mut breaker.state().open {
            open.probing = false;
        }
        assert!(probes(&breaker));
        answer(&breaker, Duration::ZERO);
        assert!(bound(&breaker).is_some(), "it is back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_breaker_of_zero_failures_never_opens() {
        let breaker = Breaker::default();
        for _ in 0..100 {
            breaker.note::<()>(&Err(Error::new(ErrorKind::Timeout, "late")), BOUND, 0, PAUSE);
        }
        assert!(!breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn warnings_that_come_in_swarms_are_counted_instead() {
        let swarm = Swarm::default();
        assert_eq!(swarm.warns(), Some(0));
        assert_eq!((0..9).filter_map(|_| swarm.warns()).count(), 0);
        tokio::time::advance(BETWEEN_WARNINGS).await;
        assert_eq!(swarm.warns(), Some(9));
    }
}

//! A namespace: its state under one lock.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use smache_core::{Clock, Error, ErrorKind, Incarnation, Result, Timestamp};
use tokio::sync::Notify;

use crate::{config::Loss, queue::Jobs, store::Cache};

/// A namespace; its stores and queues share it.
pub(crate) struct NamespaceState {
    capacity: usize,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    jobs_added: Notify,
}

/// The state under the lock.
pub(crate) struct State {
    pub(crate) incarnation: Incarnation,
    pub(crate) cache: Cache,
    pub(crate) jobs: Jobs,
}

impl NamespaceState {
    pub(crate) fn new(clock: Arc<dyn Clock>, capacity: usize, incarnation: Incarnation) -> Self {
        let state = Mutex::new(State { incarnation, cache: Cache::new(capacity), jobs: Jobs::default() });
        Self { capacity, clock, state, jobs_added: Notify::new() }
    }

    /// Runs one atomic step. It reads the clock under the lock, so that the order of steps is the order of their times.
    pub(crate) fn step<T>(&self, step: impl FnOnce(&mut State, Timestamp) -> T) -> Result<T> {
        let mut state = self.lock()?;
        let now = self.clock.now();
        let added = state.jobs.added();
        let answer = step(&mut state, now);
        let wake = state.jobs.added() != added;
        drop(state);
        if wake {
            self.jobs_added.notify_waiters();
        }
        Ok(answer)
    }

    /// Notified when jobs are added.
    pub(crate) fn jobs_added(&self) -> &Notify {
        &self.jobs_added
    }

    pub(crate) fn restart(&self, incarnation: &Incarnation, loss: Loss) {
        // A state that a panic left half-way is discarded, never trusted.
        let (mut state, loss) = match self.state.lock() {
            Ok(state) => (state, loss),
            Err(poisoned) => (poisoned.into_inner(), Loss::Everything),
        };
        if loss == Loss::Everything {
            state.cache = Cache::new(self.capacity);
            state.jobs = Jobs::default();
            self.state.clear_poison();
        }
        state.incarnation = incarnation.clone();
    }

    fn lock(&self) -> Result<MutexGuard<'_, State>> {
        self.state.lock().map_err(|_| {
            let message =
                "a step of the memory store panicked and may have left its state half-way: restart the program";
            Error::new(ErrorKind::Corrupt, message)
        })
    }
}

impl fmt::Debug for NamespaceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamespaceState")
            .field("capacity", &self.capacity)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

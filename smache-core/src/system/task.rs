//! The background tasks of a system that run until it ends.

use std::{fmt, time::Duration};

use tokio::{sync::watch, task::AbortHandle};

use super::{Engine, feed::FeedHandle};

/// How long a shutdown lets the computations finish that no reader and no worker waits for.
const GRACE: Duration = Duration::from_secs(5);
/// How many steps of the store a shutdown waits for.
const STEPS: u32 = 6;

/// Tasks that end with their owner.
pub(crate) struct Tasks {
    stop: watch::Sender<bool>,
    handles: Vec<AbortHandle>,
    feeds: Vec<FeedHandle>,
}

impl Tasks {
    pub(crate) fn new(stop: watch::Sender<bool>, handles: Vec<AbortHandle>, feeds: Vec<FeedHandle>) -> Self {
        Self { stop, handles, feeds }
    }

    pub(crate) fn feeds(&self) -> &[FeedHandle] {
        &self.feeds
    }

    /// Asks the tasks to end and waits for them, and for everything else that goes on without a handle.
    pub(crate) async fn shutdown(&self, engine: &Engine) {
        // Without a task nobody listens.
        let _ = self.stop.send(true);
        let patience = engine.settings.store_timeout.saturating_mul(STEPS);
        // In this order: workers leave computations, and what those give back at their end are tasks.
        engine.background.end_workers(patience).await;
        engine.single_flight.shutdown(GRACE).await;
        engine.leases.shutdown().await;
        engine.background.end(patience).await;
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.handles.iter().for_each(AbortHandle::abort);
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").finish_non_exhaustive()
    }
}

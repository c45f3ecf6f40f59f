//! The background tasks of a system that run until it ends.

use std::{fmt, time::Duration};

use tokio::{sync::watch, task::AbortHandle};

use super::{Engine, feed::FeedHandle};

/// How long computations without a reader or worker may go on at a shutdown.
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

    /// Asks the tasks to end and waits for them, and for all other background work without a handle.
    pub(crate) async fn shutdown(&self, engine: &Engine) {
        // An error means that no task is running.
        let _ = self.stop.send(true);
        let patience = engine.settings.store_timeout.saturating_mul(STEPS);
        // In this order: workers leave computations, and computations give their leases back in tasks.
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

//! The background tasks of a system that run until it ends.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{sync::watch, task::AbortHandle};

use super::{feed, feed::FeedHandle, maintenance, programs};
use crate::engine::Engine;

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
    /// Starts the tasks of a program: the feeds that it may lead, its registration, and the maintenance that it may do.
    pub(crate) fn start(engine: &Arc<Engine>, lead_feeds: bool, maintain: bool) -> Self {
        let (stop, stopping) = watch::channel(false);
        let mut handles = Vec::new();
        let mut feeds = Vec::new();
        if lead_feeds {
            for (handle, feed) in feed::start(engine, &stopping) {
                handles.push(handle);
                feeds.push(feed);
            }
        }
        handles.push(engine.background.spawn(programs::keep(Arc::downgrade(engine), stopping.clone())));
        if maintain {
            handles.push(engine.background.spawn(maintenance::run(Arc::downgrade(engine), stopping)));
        }
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

//! The background tasks of a system.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use tokio::{sync::watch, task::JoinHandle};

use super::feed::FeedHandle;

/// Tasks that end with their owner.
pub(crate) struct Tasks {
    stop: watch::Sender<bool>,
    handles: Mutex<Vec<JoinHandle<()>>>,
    feeds: Vec<FeedHandle>,
}

impl Tasks {
    pub(crate) fn new(stop: watch::Sender<bool>, handles: Vec<JoinHandle<()>>, feeds: Vec<FeedHandle>) -> Self {
        Self { stop, handles: Mutex::new(handles), feeds }
    }

    pub(crate) fn feeds(&self) -> &[FeedHandle] {
        &self.feeds
    }

    /// Asks the tasks to end and waits for them.
    pub(crate) async fn shutdown(&self) {
        // Without a task nobody listens.
        let _ = self.stop.send(true);
        let handles = std::mem::take(&mut *self.handles.lock().unwrap_or_else(PoisonError::into_inner));
        for handle in handles {
            if let Err(error) = handle.await {
                tracing::error!(%error, "a background task ended in a panic");
            }
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for handle in self.handles.get_mut().unwrap_or_else(PoisonError::into_inner) {
            handle.abort();
        }
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").finish_non_exhaustive()
    }
}

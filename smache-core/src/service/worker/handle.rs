//! The handle of a running worker.

use std::time::Duration;

use tokio::{sync::watch, task::JoinHandle};

use super::Stop;
use crate::engine::Handled;

/// A running worker. A drop ends it at once, and other workers get its jobs when their leases lapse. Prefer
/// [`shutdown`](Self::shutdown).
#[derive(Debug)]
pub struct Worker {
    stop: watch::Sender<Stop>,
    tasks: Vec<JoinHandle<()>>,
    settling: Option<JoinHandle<()>>,
    /// A shutdown of the system waits for the tasks of a worker only if its handle is gone.
    _handled: Handled,
}

impl Worker {
    pub(crate) fn new(
        stop: watch::Sender<Stop>,
        tasks: Vec<JoinHandle<()>>,
        settling: JoinHandle<()>,
        handled: Handled,
    ) -> Self {
        Self { stop, tasks, settling: Some(settling), _handled: handled }
    }

    /// Takes no new jobs, lets the running ones finish for at most `grace`, hands back the rest, and returns when every
    /// job is settled.
    ///
    /// # Cancel safety
    /// A dropped `shutdown` ends the worker at once, like a drop of the worker.
    pub async fn shutdown(mut self, grace: Duration) {
        // An error means that the tasks have ended already.
        let _ = self.stop.send(Stop::Drain);
        let mut tasks = std::mem::take(&mut self.tasks);
        let drained = tokio::time::timeout(grace, wait_for_all(&mut tasks)).await;
        if drained.is_err() {
            let _ = self.stop.send(Stop::Now);
            wait_for_all(&mut tasks).await;
        }
        if let Some(settling) = self.settling.take() {
            report(settling.await);
        }
    }
}

async fn wait_for_all(tasks: &mut Vec<JoinHandle<()>>) {
    while let Some(task) = tasks.last_mut() {
        report(task.await);
        tasks.pop();
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a task of the worker ended in a panic");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.tasks.iter().chain(&self.settling).for_each(JoinHandle::abort);
    }
}

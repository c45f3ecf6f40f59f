//! Background work, counted, so that a shutdown knows when none of it is left.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{runtime::Handle, sync::watch, task::AbortHandle};

use crate::computed::panic_text;

/// The tasks of a system: its feeds, its maintenance, the tasks that give leases back, and its workers.
#[derive(Debug, Default)]
pub(crate) struct Background {
    tasks: Count,
    workers: Count,
    /// Workers that have a handle: a shutdown of the system does not wait for them.
    handled: Arc<Mutex<usize>>,
}

/// A number of tasks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Count(Arc<watch::Sender<usize>>);

/// One counted task, until this is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Arc<watch::Sender<usize>>);

/// Counted work. The fields drop in their order: everything that the work holds drops before the count changes.
pub(crate) struct CountedWork {
    work: Pin<Box<dyn Future<Output = ()> + Send>>,
    _counted: Counted,
}

/// A worker whose handle exists.
#[derive(Debug)]
pub(crate) struct Handled(Arc<Mutex<usize>>);

impl Count {
    pub(crate) fn one(&self) -> Counted {
        self.0.send_modify(|count| *count += 1);
        Counted(Arc::clone(&self.0))
    }

    /// Work that counts until all of it is dropped.
    pub(crate) fn counted(&self, work: impl Future<Output = ()> + Send + 'static) -> CountedWork {
        CountedWork { work: Box::pin(work), _counted: self.one() }
    }

    fn is_some(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// Waits until there are some, or none.
    pub(crate) async fn some(&self, some: bool) {
        // The sender lives as long as this.
        drop(self.0.subscribe().wait_for(|count| (*count > 0) == some).await);
    }

    async fn none_left(&self) {
        // The sender lives as long as this.
        drop(self.0.subscribe().wait_for(|count| *count == 0).await);
    }
}

impl Future for CountedWork {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.work.as_mut().poll(context)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Background {
    /// Spawns work that ends by itself, or at a shutdown.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        Handle::current().spawn(self.task(work)).abort_handle()
    }

    /// Spawns work that may be lost without a runtime.
    pub(crate) fn spawn_if_possible(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(self.task(work));
        }
    }

    fn task(&self, work: impl Future<Output = ()> + Send + 'static) -> CountedWork {
        self.tasks.counted(async move {
            if let Err(panic) = AssertUnwindSafe(work).catch_unwind().await {
                tracing::error!(panic = %panic_text(panic.as_ref()), "a background task ended in a panic");
            }
        })
    }

    /// Counts a task that holds the system for a moment.
    pub(crate) fn hold(&self) -> Counted {
        self.tasks.one()
    }

    pub(crate) fn has_workers(&self) -> bool {
        self.workers.is_some()
    }

    /// The tasks of workers.
    pub(crate) fn workers(&self) -> &Count {
        &self.workers
    }

    /// Counts a worker with a handle.
    pub(crate) fn handle(&self) -> Handled {
        *lock(&self.handled) += 1;
        Handled(Arc::clone(&self.handled))
    }

    /// Waits a while for the tasks of workers if none of them has a handle. Workers with a handle end by it.
    pub(crate) async fn end_workers(&self, patience: Duration) {
        if *lock(&self.handled) == 0 && tokio::time::timeout(patience, self.workers.none_left()).await.is_err() {
            tracing::warn!(?patience, "a shutdown does not wait any longer: a worker that was dropped still runs");
        }
    }

    /// Waits a while until only tasks of workers are left.
    pub(crate) async fn end(&self, patience: Duration) {
        if tokio::time::timeout(patience, self.tasks.none_left()).await.is_err() {
            tracing::warn!(?patience, "a shutdown does not wait any longer: a background task still holds the store");
        }
    }
}

impl Drop for Handled {
    fn drop(&mut self) {
        *lock(&self.0) -= 1;
    }
}

/// Stops a task between the steps of a store, but not within one: a store may go on with a dropped step by itself.
#[derive(Debug)]
pub(crate) struct Steps {
    stop: watch::Receiver<bool>,
    under_way: Count,
    /// How long a step may still take when the task has to stop.
    patience: Duration,
}

impl Steps {
    pub(crate) fn new(stop: watch::Receiver<bool>, patience: Duration) -> Self {
        Self { stop, under_way: Count::default(), patience }
    }

    /// Does a step. If the task has to stop, waits instead until the task is dropped.
    pub(crate) async fn whole<T>(&self, step: impl Future<Output = T>) -> T {
        if *self.stop.borrow() {
            std::future::pending::<()>().await;
        }
        let _under_way = self.under_way.one();
        step.await
    }

    /// Waits until no step is under way.
    pub(crate) async fn between(&self) {
        self.under_way.none_left().await;
    }

    /// Waits until the task has to stop and no step is under way.
    pub(crate) async fn stopped(&self) {
        // A dropped sender means a dropped system.
        drop(self.stop.clone().wait_for(|stop| *stop).await);
        if tokio::time::timeout(self.patience, self.between()).await.is_err() {
            tracing::warn!("a step of the store is dropped at the shutdown: it takes too long");
        }
    }
}

fn lock(count: &Mutex<usize>) -> MutexGuard<'_, usize> {
    // A number is whole after a panic.
    count.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Work that goes on beside its cause: counted, so that a shutdown knows when nothing of it is left.

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

/// The tasks of a system: its feeds and maintenance, what gives things back, and its workers.
#[derive(Debug, Default)]
pub(crate) struct Background {
    tasks: Count,
    workers: Count,
    /// Those that have a handle: a shutdown of the system does not wait for them.
    handled: Arc<Mutex<usize>>,
}

/// How many there are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Count(Arc<watch::Sender<usize>>);

/// One of them, until this is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Arc<watch::Sender<usize>>);

/// Work that counts. The order of the fields is the order in which they are dropped: what the work holds is dropped before
/// the count says so.
pub(crate) struct CountedWork {
    work: Pin<Box<dyn Future<Output = ()> + Send>>,
    _counted: Counted,
}

/// A worker whose handle is there.
#[derive(Debug)]
pub(crate) struct Handled(Arc<Mutex<usize>>);

impl Count {
    pub(crate) fn one(&self) -> Counted {
        self.0.send_modify(|count| *count += 1);
        Counted(Arc::clone(&self.0))
    }

    /// Work that counts until everything of it is dropped.
    pub(crate) fn counted(&self, work: impl Future<Output = ()> + Send + 'static) -> CountedWork {
        CountedWork { work: Box::pin(work), _counted: self.one() }
    }

    fn is_some(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// Until there are some, or none.
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
    /// Spawns something that ends by itself, or at a shutdown.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        Handle::current().spawn(self.task(work)).abort_handle()
    }

    /// Spawns something that may be lost without a runtime.
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

    /// Counts something that holds the system for a moment.
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

    /// A worker has a handle from now on.
    pub(crate) fn handle(&self) -> Handled {
        *lock(&self.handled) += 1;
        Handled(Arc::clone(&self.handled))
    }

    /// Waits for what is left of workers without a handle, for a while. The others are left alone.
    pub(crate) async fn end_workers(&self, patience: Duration) {
        if *lock(&self.handled) == 0 && tokio::time::timeout(patience, self.workers.none_left()).await.is_err() {
            tracing::warn!(?patience, "a shutdown does not wait any longer: a worker that was dropped still runs");
        }
    }

    /// Waits until no task is left but those of workers, for a while.
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

/// Lets a task be stopped between the steps of a store, but not within one, which a store may go on with by itself.
#[derive(Debug)]
pub(crate) struct Steps {
    stop: watch::Receiver<bool>,
    under_way: Count,
    /// How long a step may take when it is to stop.
    patience: Duration,
}

impl Steps {
    pub(crate) fn new(stop: watch::Receiver<bool>, patience: Duration) -> Self {
        Self { stop, under_way: Count::default(), patience }
    }

    /// Does a step, unless the task is to stop: then it never does, and the task is dropped.
    pub(crate) async fn whole<T>(&self, step: impl Future<Output = T>) -> T {
        if *self.stop.borrow() {
            std::future::pending::<()>().await;
        }
        let _under_way = self.under_way.one();
        step.await
    }

    /// Until no step is under way.
    pub(crate) async fn between(&self) {
        self.under_way.none_left().await;
    }

    /// Until the task is to stop and no step is under way.
    pub(crate) async fn stopped(&self) {
        // A sender that is gone is a system that is gone.
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

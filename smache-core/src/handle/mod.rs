//! The handle of an application.

mod builder;
mod changes;
mod in_transaction;
mod reads;

use std::{fmt, sync::Arc};

pub use self::{
    builder::Builder,
    in_transaction::{InTransaction, Uncommitted},
};
use crate::{
    EntryId, Result,
    engine::Engine,
    inspect::Inspector,
    service::{Tasks, WorkerBuilder},
};

/// The handle of an application: reads results, reports changes, starts workers. Cheap to clone.
///
/// The background tasks (feeds and maintenance) end when the last clone is dropped, or at [`shutdown`](Self::shutdown).
#[derive(Clone)]
pub struct Smache {
    engine: Arc<Engine>,
    tasks: Arc<Tasks>,
}

impl Smache {
    /// Starts the description of a system. The namespace separates applications that share a server.
    pub fn builder(namespace: impl AsRef<str>) -> Builder {
        Builder::new(namespace.as_ref())
    }

    /// A worker of this program: it recomputes stale entries, in the readers' process or in another one.
    pub fn worker(&self) -> WorkerBuilder {
        WorkerBuilder::new(Arc::clone(&self.engine))
    }

    /// Ends the feeds and the maintenance of this handle and of all its clones, and passes their leadership to other
    /// processes at once instead of after its lease.
    ///
    /// Computations without a reader may finish and store their results for 5 seconds; then they give their leases
    /// back. Other background work may take as long as a few steps of the store. Afterwards only the handles and
    /// inspectors hold the store: it is dropped with the last one. Workers are shut down by their own handles, before
    /// or after this.
    ///
    /// # Cancel safety
    /// After a dropped call everything ends as well; call it again to wait for the end.
    pub async fn shutdown(&self) {
        self.tasks.shutdown(&self.engine).await;
    }

    /// A view of the running system, for people: why a result is stale, what a change affects, numbers, dead letters,
    /// the [`doctor`](crate::inspect::Inspector::doctor).
    #[must_use]
    pub fn inspect(&self) -> Inspector {
        Inspector::new(&self.engine)
    }

    /// Puts dead letters back into the queue, with their attempts at zero. Returns how many.
    ///
    /// # Errors
    /// The queue's errors.
    pub async fn requeue(&self, ids: &[EntryId]) -> Result<u64> {
        self.engine.timed("requeue", self.engine.queue.requeue(ids)).await
    }

    /// Removes all entries and jobs of a function that no living program has, by its id and version: `greeting@1`. This
    /// covers every identity that the version had, except one that a living program has. Returns how many entries it
    /// removed.
    ///
    /// Maintenance removes the entries that no program has had for long:
    /// [`Builder::forget_after`](crate::Builder::forget_after).
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument): a name without a version, or a function that a living
    /// program has, with the name of that program. The store's and the queue's errors; call it again then.
    ///
    /// # Cancel safety
    /// A dropped call has removed a part; call it again for the rest.
    pub async fn forget(&self, function: &str) -> Result<u64> {
        self.engine.forget(function).await
    }

    /// Delivers every change made so far, does the maintenance and runs every due job, in this task, until nothing is
    /// left to do. Returns how many jobs ran.
    ///
    /// With the memory backend and a manual clock an application's unit test needs no worker, no server and no sleep. A
    /// job that backs off after a failure is due when the clock is moved.
    ///
    /// # Errors
    /// The store's, the queue's and the feeds' errors. The errors of functions are recorded on their entries instead.
    pub async fn run_until_idle(&self) -> Result<u64> {
        self.tasks.run_until_idle(&self.engine).await
    }
}

impl fmt::Debug for Smache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Smache").field(&self.engine).finish()
    }
}

//! The leases of the runs of this process. One task per runtime extends them, however many runs there are.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{runtime, sync::oneshot, task::JoinHandle};

use super::Engine;
use crate::{Abort, EntryId, Token};

/// The runs of this process. Those of a runtime end with it, and so does the task that extends them.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<HashMap<runtime::Id, Running>>);

#[derive(Debug, Default)]
struct Running {
    runs: HashMap<Token, (EntryId, oneshot::Sender<()>)>,
    beat: Option<JoinHandle<()>>,
}

/// Holds the lease of a run until it is given back; a drop gives it back in the background.
pub(crate) struct Lease {
    engine: Arc<Engine>,
    id: EntryId,
    token: Token,
    /// The runtime whose task extends it.
    runtime: Option<runtime::Id>,
    settled: bool,
}

impl Lease {
    /// The lease of a run that is about to begin: if the answer of the store gets lost, the drop still gives the lease
    /// back.
    pub(crate) fn hold(engine: &Arc<Engine>, id: EntryId, token: Token) -> Self {
        Self { engine: Arc::clone(engine), id, token, runtime: None, settled: false }
    }

    /// Keeps the lease alive from now on. The receiver fires when it is lost. Only for a run that has begun: the store
    /// reports the lease of any other run as lost.
    pub(crate) fn keep(&mut self) -> oneshot::Receiver<()> {
        let (lost, receiver) = oneshot::channel();
        let here = runtime::Handle::current().id();
        let mut leases = self.engine.leases.lock();
        let running = leases.entry(here).or_default();
        running.runs.insert(self.token, (self.id, lost));
        // A finished task belongs to an earlier runtime with the same id.
        if running.beat.as_ref().is_none_or(JoinHandle::is_finished) {
            running.beat = Some(tokio::spawn(beat(Arc::downgrade(&self.engine), here)));
        }
        drop(leases);
        self.runtime = Some(here);
        receiver
    }

    /// Gives the lease back without a value: with the failure of the run, or because there is nothing to run. The job
    /// of a stale entry is due after the delay.
    pub(crate) async fn abort(self, failure: Option<String>, delay: Duration) {
        let abort = Abort { id: self.id, token: self.token, failure, delay };
        match self.engine.timed("abort", self.engine.store.abort(abort)).await {
            Ok(_) => self.settle(),
            // The drop of the lease tries once more; after that the lease lapses.
            Err(error) => {
                if let Some(left_out) = self.engine.swarms.not_given_back.warns() {
                    tracing::warn!(error = %error.report(), left_out, "a run could not be given back");
                }
            }
        }
    }

    /// The store has ended the run: there is nothing to give back.
    pub(crate) fn settle(mut self) {
        self.settled = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime {
            self.engine.leases.remove(runtime, &self.token);
        }
        if self.settled {
            return;
        }
        let engine = Arc::clone(&self.engine);
        let id = self.id;
        let token = self.token;
        // Without a runtime the store cannot be asked: the lease lapses by itself.
        self.engine.background.spawn_if_possible(async move {
            let abort = Abort { id, token, failure: None, delay: Duration::ZERO };
            if let Err(error) = engine.timed("abort", engine.store.abort(abort)).await
                && let Some(left_out) = engine.swarms.not_given_back.warns()
            {
                tracing::warn!(error = %error.report(), left_out, "a dropped run ends with its lease: it could not be given back");
            }
        });
    }
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, HashMap<runtime::Id, Running>> {
        // Insertions and removals only: whole after a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, runtime: runtime::Id, token: &Token) -> Option<oneshot::Sender<()>> {
        self.lock().get_mut(&runtime)?.runs.remove(token).map(|(_, lost)| lost)
    }

    /// Ends the tasks of runtimes without leases, so that they do not look for the system once more.
    pub(crate) async fn shutdown(&self) {
        let idle: Vec<(runtime::Id, Running)> = {
            let mut leases = self.lock();
            let idle: Vec<_> =
                leases.iter().filter(|(_, running)| running.runs.is_empty()).map(|(id, _)| *id).collect();
            idle.into_iter().filter_map(|id| Some((id, leases.remove(&id)?))).collect()
        };
        for (of, beat) in idle.into_iter().filter_map(|(of, running)| Some((of, running.beat?))) {
            beat.abort();
            // The task of another runtime ends when that runtime polls it.
            if of == runtime::Handle::current().id() {
                drop(beat.await);
            }
        }
    }
}

/// Extends the leases of a runtime three times in their length. Ends when there are none, or with the system.
async fn beat(engine: Weak<Engine>, here: runtime::Id) {
    loop {
        let Some(period) = engine.upgrade().map(|engine| engine.settings.run_lease / 3) else { return };
        tokio::time::sleep(period).await;
        let Some(engine) = engine.upgrade() else { return };
        let _held = engine.background.hold();
        let runs: Vec<(EntryId, Token)> = {
            let mut leases = engine.leases.lock();
            let runs = leases.get(&here).map(|running| &running.runs).filter(|runs| !runs.is_empty());
            let Some(runs) = runs else {
                leases.remove(&here);
                return;
            };
            runs.iter().map(|(token, (id, _))| (*id, *token)).collect()
        };
        match engine.timed("extend", engine.store.extend(&runs, engine.settings.run_lease)).await {
            Ok(held) => {
                for ((_, token), _) in runs.iter().zip(held).filter(|(_, held)| !held) {
                    if let Some(lost) = engine.leases.remove(here, token) {
                        // A run that has ended meanwhile does not listen.
                        let _ = lost.send(());
                    }
                }
            }
            // The next beat tries again; the commit notices a lease that lapses meanwhile.
            Err(error) => {
                tracing::warn!(error = %error.report(), "the leases of running computations could not be extended");
            }
        }
    }
}

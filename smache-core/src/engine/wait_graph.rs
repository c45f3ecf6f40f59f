//! Cycles of nested calls across processes: a call waits for a run of another process, which may wait for the caller,
//! and no process sees the whole cycle.
//!
//! When a run has waited for a while, its process records the waits of its runs in the store, and looks in the records
//! of the others for a way back. The process that records last sees the whole cycle, whatever the number of processes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Engine,
    single_flight::{LocalWait, path},
};
use crate::{EntryId, RecordWaits, Result, WaitingRun, tracking::CallFrame};

/// Most runs have ended by then, and their waits need no record.
const FIRST_LOOK: Duration = Duration::from_millis(100);
/// The pause between two looks.
const NEXT_LOOK: Duration = Duration::from_millis(500);
/// How long a record counts: some looks, since one may be late, but not for long after a process has died.
const NOTE_LEASE: Duration = Duration::from_secs(2);
/// How many runs of this process are recorded with a waiting one, the nearest first.
const MOST_NOTED: usize = 256;

/// A run that waits for a run of another process, until this is dropped.
pub(super) struct RemoteWait {
    engine: Arc<Engine>,
    parent: CallFrame,
    child: EntryId,
    next: Instant,
    noted: bool,
}

impl RemoteWait {
    pub(super) fn new(engine: &Arc<Engine>, parent: CallFrame, child: EntryId) -> Self {
        Self { engine: Arc::clone(engine), parent, child, next: Instant::now() + FIRST_LOOK, noted: false }
    }

    /// Looks for a cycle, if it is time.
    ///
    /// # Errors
    /// [`ErrorKind::Cycle`](crate::ErrorKind::Cycle) with its path.
    pub(super) async fn look(&mut self) -> Result<()> {
        // No other process waits for a run that the store does not know.
        let Some(token) = self.parent.token.filter(|_| Instant::now() >= self.next) else { return Ok(()) };
        let parent = self.parent.parent;
        let mut local = self.engine.single_flight.waits_for(parent);
        local.insert(0, LocalWait { id: parent, token: Some(token), child: self.child });
        let noted =
            local.iter().filter_map(|wait| Some(WaitingRun { id: wait.id, token: wait.token?, child: wait.child }));
        let wait = RecordWaits { runs: noted.take(MOST_NOTED).collect(), lease: NOTE_LEASE, child: self.child };
        // Set even if the step fails: it may have happened.
        self.noted = true;
        let known = self.engine.timed("record_waits", self.engine.store.record_waits(wait)).await;
        self.next = Instant::now() + NEXT_LOOK;
        match known {
            Ok(known) => match self.way_back(&local, &known) {
                Some(path) => Err(self.engine.cycle(&path)),
                None => Ok(()),
            },
            // The next look tries again, and the wait is bounded in any case.
            Err(error) => {
                tracing::debug!(error = %error.report(), "it is not known whether runs of several processes wait for each other");
                Ok(())
            }
        }
    }

    /// The path on which the parent waits for itself, if there is one.
    fn way_back(&self, local: &[LocalWait], known: &[(EntryId, EntryId)]) -> Option<Vec<EntryId>> {
        let mut waits: HashMap<EntryId, Vec<EntryId>> = HashMap::new();
        // The store may lack some of the local waits.
        for (id, child) in known.iter().copied().chain(local.iter().map(|wait| (wait.id, wait.child))) {
            waits.entry(id).or_default().push(child);
        }
        let mut path = path(self.child, self.parent.parent, |from| waits.get(from).cloned().unwrap_or_default())?;
        path.insert(0, self.parent.parent);
        Some(path)
    }
}

impl Drop for RemoteWait {
    fn drop(&mut self) {
        let Some(token) = self.parent.token.filter(|_| self.noted) else { return };
        let engine = Arc::clone(&self.engine);
        let child = self.child;
        let over = WaitingRun { id: self.parent.parent, token, child };
        // Without a runtime, or after a failure, the record ends with one of the two runs, or with its lease.
        self.engine.background.spawn_if_possible(async move {
            let wait = RecordWaits { runs: vec![over], lease: Duration::ZERO, child };
            if let Err(error) = engine.timed("record_waits", engine.store.record_waits(wait)).await {
                tracing::debug!(error = %error.report(), "a wait ends with its lease: it could not be ended in the store");
            }
        });
    }
}

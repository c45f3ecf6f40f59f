//! Waits of runs for each other.

use smache_core::{EntryId, RecordWaits, Result, Timestamp, WaitingRun, protocol, support::WaitWalk};

use crate::{keys::Role, step::Step};

impl Step<'_> {
    pub(super) async fn record_waits(&mut self, wait: &RecordWaits) -> Result<Vec<(EntryId, EntryId)>> {
        let keys = self.keys();
        let concerned = wait.runs.iter().flat_map(|waiting| [waiting.id, waiting.child]).chain([wait.child]);
        self.prefetch(concerned.map(|id| keys.entry(Role::Run, &id))).await?;
        let until = self.now.after(wait.lease);
        for waiting in &wait.runs {
            self.note(waiting, until).await?;
        }
        self.waits_from(wait.child).await
    }

    async fn note(&mut self, waiting: &WaitingRun, until: Timestamp) -> Result<()> {
        let awaited = self.run(&waiting.child).await?.map(|run| run.token);
        let Some(old) = self.held_run(&waiting.id, waiting.token).await? else { return Ok(()) };
        let mut run = old.clone();
        protocol::note_wait(&mut run, waiting.child, awaited, until, self.now);
        if run != old {
            self.put_run(&waiting.id, Some(&old), &run);
        }
        Ok(())
    }

    /// The waits that lead on from a run, the nearest first.
    async fn waits_from(&mut self, from: EntryId) -> Result<Vec<(EntryId, EntryId)>> {
        let mut walk = WaitWalk::from(from);
        while let Some(id) = walk.next_run() {
            let Some(run) = self.run(&id).await? else { continue };
            let keys = self.keys();
            self.prefetch(run.waits.iter().map(|wait| keys.entry(Role::Run, &wait.child))).await?;
            let mut children = Vec::with_capacity(run.waits.len());
            for wait in run.waits {
                if protocol::counts(&wait, self.run(&wait.child).await?.as_ref(), self.now) {
                    children.push(wait.child);
                }
            }
            walk.waits_for(id, children);
        }
        Ok(walk.into_waits())
    }
}

//! Waits of runs for each other.

use smache_core::{
    EntryId, RecordWaits, Result, Timestamp, WaitingRun,
    support::{WaitWalk, limits::WAITS},
};

use super::runs::Note;
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
        let now = self.now;
        run.waits.retain(|note| note.child != waiting.child && note.until > now);
        if let Some(token) = awaited.filter(|_| until > now) {
            run.waits.push(Note { child: waiting.child, token, until });
            let surplus = run.waits.len().saturating_sub(WAITS);
            run.waits.drain(..surplus);
        }
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
            self.prefetch(run.waits.iter().map(|note| keys.entry(Role::Run, &note.child))).await?;
            let mut children = Vec::with_capacity(run.waits.len());
            for note in run.waits {
                if note.until > self.now && self.held_run(&note.child, note.token).await?.is_some() {
                    children.push(note.child);
                }
            }
            walk.waits_for(id, children);
        }
        Ok(walk.into_waits())
    }
}

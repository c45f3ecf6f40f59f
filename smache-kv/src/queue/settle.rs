//! The ends of jobs.

use smache_core::{
    EntryId, JobEnd, Result, Settled, Settlement,
    support::{clip, limits::ERROR_BYTES},
};

use super::job::{Request, State};
use crate::step::Step;

impl Step<'_> {
    pub(super) async fn settle(&mut self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.prefetch_kept(settlements.iter().map(|settlement| settlement.id)).await?;
        let mut settled = Vec::with_capacity(settlements.len());
        for settlement in settlements {
            settled.push(self.settle_one(settlement).await?);
        }
        Ok(settled)
    }

    async fn settle_one(&mut self, settlement: &Settlement) -> Result<Settled> {
        let Settlement { id, token, end } = settlement;
        let Some(old) = self.job(id).await? else { return Ok(Settled::Lost) };
        let again = match &old.state {
            State::Running { token: held, again, .. } if held == token => *again,
            _ => return Ok(Settled::Lost),
        };
        let mut kept = old.clone();
        let own_due = match end {
            JobEnd::Done => {
                kept.forgive();
                None
            }
            JobEnd::Release { delay } => Some(self.now.after(*delay)),
            JobEnd::Retry { delay, error } => {
                kept.errors = kept.errors.saturating_add(1);
                kept.error = Some(clip(error, ERROR_BYTES).to_owned());
                Some(self.now.after(*delay))
            }
            JobEnd::DeadLetter { error } => {
                if again.is_none() {
                    kept.error = Some(clip(error, ERROR_BYTES).to_owned());
                    kept.state = State::DeadLetter { at: self.now };
                    self.put_job(id, Some(&old), &kept);
                    return Ok(Settled::Settled);
                }
                // As a change of a dead letter: it starts again.
                kept.forgive();
                None
            }
        };
        let due = match (again, own_due) {
            (Some(again), None) => again.due,
            (None, Some(own)) => own,
            // A failed job backs off although its data changed; a released one need not wait.
            (Some(again), Some(own)) if matches!(end, JobEnd::Retry { .. }) => again.due.max(own),
            (Some(again), Some(own)) => again.due.min(own),
            (None, None) => {
                self.delete_job(id, &old);
                return Ok(Settled::Settled);
            }
        };
        if let Some(Request { lane, priority, .. }) = again {
            kept.lane = if own_due.is_some() { kept.lane.min(lane) } else { lane };
            kept.priority = priority.min(kept.priority);
        }
        kept.state = State::Queued { due };
        self.put_job(id, Some(&old), &kept);
        Ok(if again.is_some() { Settled::Again } else { Settled::Settled })
    }

    pub(super) async fn requeue(&mut self, ids: &[EntryId]) -> Result<u64> {
        self.prefetch_kept(ids.iter().copied()).await?;
        let mut requeued = 0;
        for id in ids {
            let dead_letter = self.job(id).await?.filter(|kept| matches!(kept.state, State::DeadLetter { .. }));
            let Some(old) = dead_letter else { continue };
            let mut kept = old.clone();
            kept.forgive();
            kept.state = State::Queued { due: self.now };
            self.put_job(id, Some(&old), &kept);
            requeued += 1;
        }
        Ok(requeued)
    }

    pub(super) async fn discard(&mut self, ids: &[EntryId]) -> Result<u64> {
        self.prefetch_kept(ids.iter().copied()).await?;
        let mut discarded = 0;
        for id in ids {
            let waits = self.job(id).await?.filter(|kept| !matches!(kept.state, State::Running { .. }));
            let Some(old) = waits else { continue };
            self.delete_job(id, &old);
            discarded += 1;
        }
        Ok(discarded)
    }

    /// The entry is fresh or gone: a queued job and a dead letter go, a running job does not run again.
    pub(crate) async fn take_back_job(&mut self, id: &EntryId) -> Result<()> {
        let Some(old) = self.job(id).await? else { return Ok(()) };
        let mut kept = old.clone();
        match &mut kept.state {
            State::Running { again: None, .. } => {}
            State::Running { again, .. } => {
                *again = None;
                self.put_job(id, Some(&old), &kept);
            }
            State::Queued { .. } | State::DeadLetter { .. } => self.delete_job(id, &old),
        }
        Ok(())
    }
}

//! The ends of jobs.

use smache_core::{EntryId, Result, Settled, Settlement, protocol};

use crate::step::Step;

impl Step<'_> {
    pub(super) async fn settle(&mut self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.prefetch_kept(settlements.iter().map(|settlement| settlement.id)).await?;
        let mut settled = Vec::with_capacity(settlements.len());
        for Settlement { id, token, end } in settlements {
            let old = self.job(id).await?;
            let settling = protocol::settle(old.as_ref(), *token, end, self.now);
            if settling.outcome != Settled::Lost {
                self.put_job(id, old.as_ref(), settling.job.as_ref());
            }
            settled.push(settling.outcome);
        }
        Ok(settled)
    }

    pub(super) async fn requeue(&mut self, ids: &[EntryId]) -> Result<u64> {
        self.prefetch_kept(ids.iter().copied()).await?;
        let mut requeued = 0;
        for id in ids {
            let old = self.job(id).await?;
            let Some(again) = old.as_ref().and_then(|job| protocol::requeue(job, self.now)) else { continue };
            self.put_job(id, old.as_ref(), Some(&again));
            requeued += 1;
        }
        Ok(requeued)
    }

    pub(super) async fn discard(&mut self, ids: &[EntryId]) -> Result<u64> {
        self.prefetch_kept(ids.iter().copied()).await?;
        let mut discarded = 0;
        for id in ids {
            let Some(old) = self.job(id).await?.filter(protocol::discard) else { continue };
            self.put_job(id, Some(&old), None);
            discarded += 1;
        }
        Ok(discarded)
    }
}

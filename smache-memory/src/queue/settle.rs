//! The ends of jobs.

use smache_core::{EntryId, Settled, Settlement, Timestamp, protocol};

use super::jobs::Jobs;

impl Jobs {
    pub(crate) fn settle(&mut self, settlement: &Settlement, now: Timestamp) -> Settled {
        let Settlement { id, token, end } = settlement;
        let settling = protocol::settle(self.job(id), *token, end, now);
        if settling.outcome != Settled::Lost {
            self.put(*id, settling.job);
        }
        settling.outcome
    }

    pub(crate) fn requeue(&mut self, id: &EntryId, now: Timestamp) -> bool {
        let again = self.job(id).and_then(|job| protocol::requeue(job, now));
        let requeued = again.is_some();
        if requeued {
            self.put(*id, again);
        }
        requeued
    }

    pub(crate) fn discard(&mut self, id: &EntryId) -> bool {
        let discarded = self.job(id).is_some_and(protocol::discard);
        if discarded {
            self.put(*id, None);
        }
        discarded
    }
}

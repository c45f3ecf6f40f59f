//! The queue.

#[cfg(test)]
mod fuzz;
mod job;
mod jobs;
mod settle;

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use smache_core::{
    Enqueued, EntryId, Examination, FoundJob, Incarnation, JobCounts, JobPage, JobQueue, JobState, NewJob, Reservation,
    Reserve, Result, Settled, Settlement, Token,
};

use crate::{area::SharedArea, counts::fold_after_reservation};

/// A job queue on a key-value store. [`KvBackend`](crate::KvBackend) creates it.
#[derive(Debug)]
pub struct KvQueue {
    area: Arc<SharedArea>,
    poll: Duration,
    /// Whether no store shares its area, and maintains it.
    alone: bool,
    /// The count of added jobs in this process when this queue's workers last looked.
    seen: AtomicU64,
}

impl KvQueue {
    pub(crate) fn new(area: Arc<SharedArea>, poll: Duration, alone: bool) -> Self {
        Self { area, poll, alone, seen: AtomicU64::new(0) }
    }
}

#[async_trait]
impl JobQueue for KvQueue {
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
        let mut answers = Vec::with_capacity(jobs.len());
        for jobs in jobs.chunks(self.area.limits.jobs()) {
            answers.extend(self.area.write(|step| Box::pin(step.enqueue(jobs))).await?);
        }
        Ok(answers)
    }

    async fn reserve(&self, mut reserve: Reserve) -> Result<Reservation> {
        // A reservation shares the batch with the jobs that it puts back.
        reserve.max = reserve.max.min(self.area.limits.jobs() / 2).max(reserve.max.min(1));
        // Before the look: jobs that are added during it cause another look.
        let added = self.area.shared.hints.added();
        let reservation = self.area.write(|step| Box::pin(step.reserve(&reserve))).await?;
        self.seen.fetch_max(added, Ordering::SeqCst);
        if self.alone {
            fold_after_reservation(&self.area).await;
        }
        Ok(reservation)
    }

    async fn extend(&self, jobs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
        let mut held = Vec::with_capacity(jobs.len());
        for jobs in jobs.chunks(self.area.limits.jobs()) {
            held.extend(self.area.write(|step| Box::pin(step.extend_jobs(jobs, lease))).await?);
        }
        Ok(held)
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let mut answers = Vec::with_capacity(settlements.len());
        for settlements in settlements.chunks(self.area.limits.jobs()) {
            answers.extend(self.area.write(|step| Box::pin(step.settle(settlements))).await?);
        }
        Ok(answers)
    }

    async fn requeue(&self, ids: &[EntryId]) -> Result<u64> {
        let mut changed = 0;
        for ids in ids.chunks(self.area.limits.jobs()) {
            changed += self.area.write(|step| Box::pin(step.requeue(ids))).await?;
        }
        Ok(changed)
    }

    async fn discard(&self, ids: &[EntryId]) -> Result<u64> {
        let mut changed = 0;
        for ids in ids.chunks(self.area.limits.jobs()) {
            changed += self.area.write(|step| Box::pin(step.discard(ids))).await?;
        }
        Ok(changed)
    }

    async fn counts(&self) -> Result<JobCounts> {
        self.area.read(|step| Box::pin(async { Ok(step.counts_now().await?.jobs()) })).await
    }

    async fn list(&self, state: JobState, cursor: Option<Bytes>, limit: usize) -> Result<JobPage> {
        self.area.read(|step| Box::pin(step.list(state, cursor.as_deref(), limit))).await
    }

    async fn find(&self, id: &EntryId) -> Result<Option<FoundJob>> {
        self.area.read(|step| Box::pin(step.find(id))).await
    }

    async fn examine(&self) -> Result<Examination> {
        self.area.examine().await
    }

    async fn incarnation(&self) -> Result<Incarnation> {
        self.area.read(|step| Box::pin(async { Ok(step.incarnation.clone()) })).await
    }

    async fn wait(&self, timeout: Duration) -> Result<()> {
        let hints = &self.area.shared.hints;
        // Enabled before the look, so that it hears of a job that is added in between.
        let mut added = pin!(hints.notify().notified());
        added.as_mut().enable();
        let now = hints.added();
        if self.seen.swap(now, Ordering::SeqCst) != now {
            return Ok(());
        }
        let next = self.area.read(|step| Box::pin(step.next_event())).await?;
        let timeout = next.into_iter().chain([self.poll, timeout]).min().unwrap_or(timeout);
        // Look in either case.
        let _ = tokio::time::timeout(timeout, added).await;
        Ok(())
    }
}

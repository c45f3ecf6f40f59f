//! The queue.

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

use crate::space::Space;

/// A job queue on a key-value store. [`KvBackend`](crate::KvBackend) gives it.
#[derive(Debug)]
pub struct KvQueue {
    space: Arc<Space>,
    poll: Duration,
    /// How often jobs had been added in this process when this queue's workers last looked.
    seen: AtomicU64,
}

impl KvQueue {
    pub(crate) fn new(space: Arc<Space>, poll: Duration) -> Self {
        Self { space, poll, seen: AtomicU64::new(0) }
    }
}

#[async_trait]
impl JobQueue for KvQueue {
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
        self.space.write(|step| Box::pin(step.enqueue(jobs))).await
    }

    async fn reserve(&self, reserve: Reserve) -> Result<Reservation> {
        // Before the look: what is added during it is looked at again.
        let added = self.space.shared.hints.added();
        let reservation = self.space.write(|step| Box::pin(step.reserve(&reserve))).await?;
        self.seen.fetch_max(added, Ordering::SeqCst);
        Ok(reservation)
    }

    async fn extend(&self, jobs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
        self.space.write(|step| Box::pin(step.extend_jobs(jobs, lease))).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.space.write(|step| Box::pin(step.settle(settlements))).await
    }

    async fn requeue(&self, ids: &[EntryId]) -> Result<u64> {
        self.space.write(|step| Box::pin(step.requeue(ids))).await
    }

    async fn discard(&self, ids: &[EntryId]) -> Result<u64> {
        self.space.write(|step| Box::pin(step.discard(ids))).await
    }

    async fn counts(&self) -> Result<JobCounts> {
        self.space.read(|step| Box::pin(step.counts())).await
    }

    async fn list(&self, state: JobState, cursor: Option<Bytes>, limit: usize) -> Result<JobPage> {
        self.space.read(|step| Box::pin(step.list(state, cursor.as_deref(), limit))).await
    }

    async fn find(&self, id: &EntryId) -> Result<Option<FoundJob>> {
        self.space.read(|step| Box::pin(step.find(id))).await
    }

    async fn examine(&self) -> Result<Examination> {
        self.space.store.examine().await
    }

    async fn life(&self) -> Result<Incarnation> {
        self.space.read(|step| Box::pin(async { Ok(step.incarnation.clone()) })).await
    }

    async fn wait(&self, timeout: Duration) -> Result<()> {
        let hints = &self.space.shared.hints;
        // Enabled before the look, so that a job that is added in between is heard of.
        let mut added = pin!(hints.notify().notified());
        added.as_mut().enable();
        let now = hints.added();
        if self.seen.swap(now, Ordering::SeqCst) != now {
            return Ok(());
        }
        let next = self.space.read(|step| Box::pin(step.next_event())).await?;
        let timeout = next.into_iter().chain([self.poll, timeout]).min().unwrap_or(timeout);
        // Both ends mean the same: have a look.
        let _ = tokio::time::timeout(timeout, added).await;
        Ok(())
    }
}

//! The queue.

mod jobs;
mod settle;

#[cfg(test)]
mod tests;

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

pub(crate) use self::jobs::Jobs;
use crate::namespace::NamespaceState;

/// A queue in the memory of this process. [`Memory`](crate::Memory) creates it.
#[derive(Debug)]
pub struct MemoryQueue {
    shared: Arc<NamespaceState>,
    /// The count of added jobs when this queue's workers last looked.
    seen: AtomicU64,
}

impl MemoryQueue {
    pub(crate) fn new(shared: Arc<NamespaceState>) -> Self {
        Self { shared, seen: AtomicU64::new(0) }
    }
}

#[async_trait]
impl JobQueue for MemoryQueue {
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
        self.shared.step(|state, now| jobs.iter().map(|job| state.jobs.enqueue(job, now)).collect())
    }

    async fn reserve(&self, reserve: Reserve) -> Result<Reservation> {
        self.shared.step(|state, now| {
            let reservation = state.jobs.reserve(&reserve, now);
            self.seen.store(state.jobs.added(), Ordering::Relaxed);
            reservation
        })
    }

    async fn extend(&self, jobs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
        self.shared.step(|state, now| {
            let until = now.after(lease);
            jobs.iter().map(|(id, token)| state.jobs.extend(id, *token, until)).collect()
        })
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.shared.step(|state, now| settlements.iter().map(|settlement| state.jobs.settle(settlement, now)).collect())
    }

    async fn requeue(&self, ids: &[EntryId]) -> Result<u64> {
        self.shared.step(|state, now| ids.iter().map(|id| u64::from(state.jobs.requeue(id, now))).sum())
    }

    async fn discard(&self, ids: &[EntryId]) -> Result<u64> {
        self.shared.step(|state, _| ids.iter().map(|id| u64::from(state.jobs.discard(id))).sum())
    }

    async fn examine(&self) -> Result<Examination> {
        Ok(crate::config::examination())
    }

    async fn counts(&self) -> Result<JobCounts> {
        self.shared.step(|state, _| state.jobs.counts())
    }

    async fn list(&self, state: JobState, cursor: Option<Bytes>, limit: usize) -> Result<JobPage> {
        self.shared.step(|shared, _| shared.jobs.list(state, cursor.as_deref(), limit))?
    }

    async fn find(&self, id: &EntryId) -> Result<Option<FoundJob>> {
        self.shared.step(|state, _| state.jobs.find(id))
    }

    async fn incarnation(&self) -> Result<Incarnation> {
        self.shared.step(|state, _| state.incarnation.clone())
    }

    async fn wait(&self, timeout: Duration) -> Result<()> {
        // Enabled before the look, so that it hears of a job that is added in between.
        let mut added = pin!(self.shared.jobs_added().notified());
        added.as_mut().enable();
        let (new, next) = self.shared.step(|state, now| {
            let added = state.jobs.added();
            // Only jobs that no worker of this queue has seen: a due job that no worker takes must not make the others
            // loop without pause.
            (self.seen.swap(added, Ordering::Relaxed) != added, state.jobs.next_event(now))
        })?;
        if !new {
            let timeout = next.map_or(timeout, |next| next.min(timeout));
            // Look in either case.
            let _ = tokio::time::timeout(timeout, added).await;
        }
        Ok(())
    }
}

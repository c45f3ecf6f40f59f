//! Numbers and listings for operators.

use bytes::Bytes;

use super::Inspector;
use crate::{
    Call, Computed, Counters, EntryId, JobCounts, JobState, Record, Result, StoreStats, Timestamp, call_key,
    engine::is_parked,
};

/// Numbers of the namespace and of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Of the store: all processes.
    pub store: StoreStats,
    /// Of the queue: all processes.
    pub jobs: JobCounts,
    /// Of this process.
    pub process: Counters,
}

/// A job that failed for the last time, or one that is parked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The entry.
    pub id: EntryId,
    /// The call, readable: `greeting@1("anna")`.
    pub call: String,
    /// The last error, or why it is parked.
    pub error: String,
    /// When it became a dead letter.
    pub at: Timestamp,
}

impl Inspector {
    /// The id of a call's entry, as it appears in logs and listings.
    ///
    /// # Errors
    /// [`ErrorKind::Unregistered`](crate::ErrorKind::Unregistered),
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument).
    pub fn entry_id<F: Computed>(&self, call: &Call<F>) -> Result<EntryId> {
        self.engine.key(call).map(|(_, key)| key.id)
    }

    /// The whole stored record of an entry.
    ///
    /// # Errors
    /// The store's errors.
    pub async fn record(&self, id: &EntryId) -> Result<Option<Record>> {
        self.engine.timed("inspect", self.engine.store.inspect(id)).await
    }

    /// Numbers of the namespace and of this process.
    ///
    /// # Errors
    /// The store's and the queue's errors.
    pub async fn stats(&self) -> Result<Stats> {
        Ok(Stats {
            store: self.engine.timed("stats", self.engine.store.stats()).await?,
            jobs: self.engine.timed("counts", self.engine.queue.counts()).await?,
            process: self.engine.tally.read(),
        })
    }

    /// The jobs that failed for the last time, at most `limit`. Their entries keep their last good values, stale.
    ///
    /// # Errors
    /// The store's and the queue's errors.
    pub async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>> {
        self.dead_letters_where(limit, false).await
    }

    /// The jobs, at most `limit`, whose function no living program has. They return to the queue when a program with
    /// the function works; [`forget`](crate::Smache::forget) removes them with the stored entries.
    ///
    /// # Errors
    /// The store's and the queue's errors.
    pub async fn parked_jobs(&self, limit: usize) -> Result<Vec<DeadLetter>> {
        self.dead_letters_where(limit, true).await
    }

    async fn dead_letters_where(&self, limit: usize, parked: bool) -> Result<Vec<DeadLetter>> {
        let mut dead = Vec::new();
        if limit == 0 {
            return Ok(dead);
        }
        let mut cursor: Option<Bytes> = None;
        loop {
            let list = self.engine.queue.list(JobState::DeadLetter, cursor, limit.clamp(1, 500));
            let page = self.engine.timed("list", list).await?;
            for job in page.jobs.into_iter().filter(|job| is_parked(job) == parked) {
                let record = self.record(&job.id).await?;
                let call = record.map_or_else(
                    || format!("the entry {}", job.id),
                    |record| call_key::describe(&job.id, &record.call),
                );
                dead.push(DeadLetter { id: job.id, call, error: job.error.unwrap_or_default(), at: job.at });
                if dead.len() == limit {
                    return Ok(dead);
                }
            }
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(dead),
            }
        }
    }
}

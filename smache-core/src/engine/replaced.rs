//! Values that used a function which this program has in another version: stale for this program, although the store
//! does not know it.
//!
//! The store cannot know, and a program of the other version may still rightly call the values fresh. So each program
//! judges by the notes of every value, and asks its workers for a run.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::Engine;
use crate::{EntryId, Freshness, Incarnation, Lane, NewJob, StoredEntry, Timestamp, Validity, tracking::Meta};

/// The pause between two jobs for one entry: programs of two versions make a value stale for each other.
const PAUSE: Duration = Duration::from_secs(1);
/// How many entries with a recent job are remembered.
const MOST_ASKED: usize = 10_000;

/// The entries that got a job lately.
#[derive(Debug, Default)]
pub(crate) struct Asked(Mutex<HashMap<EntryId, Instant>>);

impl Asked {
    /// Whether to queue a job now.
    fn again(&self, id: EntryId) -> bool {
        let now = Instant::now();
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.get(&id).is_some_and(|last| now < *last + PAUSE) {
            return false;
        }
        if asked.len() >= MOST_ASKED {
            asked.retain(|_, last| now < *last + PAUSE);
        }
        if asked.len() < MOST_ASKED {
            asked.insert(id, now);
        }
        true
    }
}

impl Engine {
    /// Whether an entry needs a run: a change has affected it, or it used another version of a function.
    pub(crate) fn is_stale(&self, validity: &Validity, entry: &StoredEntry) -> bool {
        validity.is_stale(entry) || Meta::read(&entry.meta).is_some_and(|meta| self.registry.has_replaced(&meta))
    }

    /// The freshness of an entry for this program.
    pub(crate) fn freshness(
        &self,
        validity: &Validity,
        entry: &StoredEntry,
        meta: Option<&Meta>,
        now: Timestamp,
        incarnation: &Incarnation,
    ) -> Freshness {
        let mut freshness = validity.judge(entry, now, incarnation);
        if !matches!(freshness, Freshness::Stale { .. }) && meta.is_some_and(|meta| self.registry.has_replaced(meta)) {
            freshness = Freshness::Stale { since: entry.stored_at };
        }
        meta.map_or(freshness, |meta| meta.dated(freshness, entry))
    }

    /// Queues a job for an entry that the store does not count as stale.
    pub(crate) fn ask_for_run(self: &Arc<Self>, id: EntryId) {
        if !self.asked.again(id) {
            return;
        }
        let engine = Arc::clone(self);
        self.background.spawn(async move {
            let job = NewJob::now(id, Lane::Recompute);
            if let Err(error) = engine.timed("enqueue", engine.queue.enqueue(&[job])).await {
                tracing::warn!(entry = %id, error = %error.report(), "a value of an older version waits for its next reader");
            }
        });
    }
}

//! When old changes are removed.

use std::time::{Duration, Instant};

use smache_core::{ErrorKind, Result};
use tokio::task::JoinHandle;

use super::{feed::PgFeed, place::Place};
use crate::source::TRIMMED_AT_ONCE;

/// The removal of old changes beside the reading of new ones: by time, because under a constant load there is always
/// something to read, and in a task, because a change must not wait for it.
#[derive(Debug, Default)]
pub(super) struct Trimming {
    task: Option<JoinHandle<Result<i64>>>,
    begun: Option<Instant>,
}

impl Trimming {
    /// Begins to remove a portion where one is due. Does not wait for it.
    pub(super) async fn go_on(&mut self, feed: &PgFeed, place: &Place) {
        let pause = (feed.retention / 4).clamp(Duration::from_millis(100), Duration::from_secs(60));
        let mut due = self.begun.is_none_or(|begun| begun.elapsed() >= pause);
        if let Some(task) = &mut self.task {
            if !task.is_finished() {
                return;
            }
            match task.await {
                // There is more of it.
                Ok(Ok(TRIMMED_AT_ONCE..)) => due = true,
                // A program that may only read the change table leaves trimming to others.
                Ok(Err(error)) if error.kind() != ErrorKind::Permission => {
                    tracing::warn!(?feed, error = error.report(), "old changes cannot be removed");
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(?feed, %error, "the removal of old changes has failed"),
            }
            self.task = None;
        }
        if due {
            self.begun = Some(Instant::now());
            let feed = feed.clone();
            let place = place.clone();
            self.task = Some(tokio::spawn(async move { feed.trim(&place, TRIMMED_AT_ONCE).await }));
        }
    }
}

impl Drop for Trimming {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

//! Changes: from the application by `changed`, from feeds by their batches, to the dependencies that they hit.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Inner, Smache, read::jittered};
use crate::{
    Call, Change, ChangeKind, ChangeToken, Computed, Dependency, EntityKey, EntityType, Epoch, Error, FunctionKey, Hit,
    Invalidated, Invalidation, Result,
};

/// How often a change is handed to a store that fails.
const TRIES: u32 = 3;

impl Smache {
    /// Reports that an entity changed, came into being or went: the in-app trigger.
    ///
    /// Call it *after* the change is committed. When it returns, no reader is told `Fresh` with a value from before any
    /// more, and the affected entries are queued for the workers. A source with a feed needs no such call.
    ///
    /// # Errors
    /// [`ErrorKind::Unregistered`](crate::ErrorKind::Unregistered) for an unknown source; the store's errors: the change
    /// is then *not* acknowledged, and the call must be made again. It is idempotent.
    ///
    /// # Cancel safety
    /// A dropped call may or may not have been acknowledged; call it again.
    pub async fn changed<T: EntityType>(&self, id: &T::Id) -> Result<ChangeToken> {
        self.changed_many::<T>([id]).await
    }

    /// Reports that several entities of a source changed, in one step. See [`changed`](Self::changed).
    ///
    /// # Errors
    /// As [`changed`](Self::changed).
    pub async fn changed_many<'a, T: EntityType>(
        &self,
        ids: impl IntoIterator<Item = &'a T::Id>,
    ) -> Result<ChangeToken> {
        let source = self.inner.source_of::<T>()?.id().clone();
        let change = |id| Ok(Change::new(source.clone(), EntityKey::encode(id)?, ChangeKind::Update));
        let changes = ids.into_iter().map(change).collect::<Result<Vec<_>>>()?;
        let invalidation = Invalidation { hits: self.inner.hits(&changes), ..Invalidation::default() };
        self.inner.acknowledge(invalidation).await
    }

    /// Touches a tag: everything that depends on it goes stale. See [`Cx::depends_on_tag`](crate::Cx::depends_on_tag).
    ///
    /// # Errors
    /// As [`changed`](Self::changed).
    pub async fn changed_tag(&self, tag: &str) -> Result<ChangeToken> {
        let hit = Hit { dependency: Dependency::tag(tag), cause: format!("tag {} touched", tag.escape_debug()).into() };
        self.inner.acknowledge(Invalidation { hits: vec![hit], ..Invalidation::default() }).await
    }

    /// Marks the result of a call stale: a worker recomputes it although nothing is known to have changed.
    ///
    /// # Errors
    /// [`ErrorKind::Unregistered`](crate::ErrorKind::Unregistered), [`ErrorKind::Argument`](crate::ErrorKind::Argument),
    /// the store's errors.
    pub async fn invalidate<F: Computed>(&self, call: Call<F>) -> Result<ChangeToken> {
        let (_, key) = self.inner.key(&call)?;
        let hit = Hit { dependency: Dependency::entry(&key.id), cause: Arc::from("invalidated by the application") };
        self.inner.acknowledge(Invalidation { hits: vec![hit], entries: vec![key.id], step: None }).await
    }

    /// Marks all results of a function stale, whatever their arguments.
    ///
    /// # Errors
    /// [`ErrorKind::Unregistered`](crate::ErrorKind::Unregistered), the store's errors.
    pub async fn invalidate_function<F: Computed>(&self) -> Result<ChangeToken> {
        let function: FunctionKey = self.inner.registry.get::<F>()?.key;
        let hit = Hit { dependency: Dependency::function(function), cause: Arc::from("its function was invalidated") };
        self.inner.acknowledge(Invalidation { hits: vec![hit], ..Invalidation::default() }).await
    }

    /// Marks everything of the namespace stale in one step. The values stay readable; upkeep hands them to the workers
    /// page by page, so that the store is not blocked.
    ///
    /// # Errors
    /// The store's errors.
    pub async fn invalidate_all(&self) -> Result<Epoch> {
        self.inner.timed("new epoch", self.inner.store.new_epoch()).await
    }
}

impl Inner {
    /// What changes hit: the entities themselves, and their sources as a whole.
    pub(crate) fn hits(&self, changes: &[Change]) -> Vec<Hit> {
        super::counters::add(&self.tally.changes, changes.len());
        let mut hits = BTreeMap::new();
        for change in changes {
            let cause: Arc<str> = format!("{} {} {}", change.source, change.key, change.kind.verb()).into();
            // The last change of an entity in a batch is the one that people want to read about.
            hits.insert(Dependency::entity(&change.source, &change.key), Arc::clone(&cause));
            hits.insert(Dependency::source(&change.source), cause);
        }
        hits.into_iter().map(|(dependency, cause)| Hit { dependency, cause }).collect()
    }

    async fn acknowledge(&self, invalidation: Invalidation) -> Result<ChangeToken> {
        let invalidated = self
            .invalidate(invalidation)
            .await
            .map_err(|error| error.with_context("effect", "the change is not acknowledged: report it again"))?;
        Ok(ChangeToken(invalidated.clock))
    }

    /// Hands a change to the store, again if the answer was lost: the step is idempotent.
    pub(crate) async fn invalidate(&self, invalidation: Invalidation) -> Result<Invalidated> {
        let mut tries = 0;
        loop {
            let result = self.timed("invalidate", self.store.invalidate(invalidation.clone())).await;
            tries += 1;
            match result {
                Ok(invalidated) => {
                    self.enqueue_reported(&invalidated.jobs, Duration::ZERO).await;
                    return Ok(invalidated);
                }
                Err(error) if tries < TRIES && retryable(&error) => {
                    tokio::time::sleep(jittered(Duration::from_millis(100))).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn retryable(error: &Error) -> bool {
    use crate::ErrorKind::{Timeout, Unavailable};
    matches!(error.kind(), Unavailable | Timeout)
}

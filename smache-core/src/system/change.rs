//! Changes, from the application by `changed` and from feeds by batches, and the dependencies that they affect.

use std::{sync::Arc, time::Duration};

use super::{Engine, Moment, Smache, read::jittered, routes::cause};
use crate::{
    Call, Change, ChangeKind, ChangeToken, ChangedDependency, Clock, Computed, Dependency, EntityKey, EntityType,
    Epoch, Error, ErrorKind, FunctionKey, Image, Invalidated, Invalidation, Result, Snapshot, SystemClock,
};

/// How often a change is handed to a store that fails.
const TRIES: u32 = 3;
/// How many times longer the next try may take, after one that timed out.
const MORE_TIME: u32 = 6;
/// How many times longer than other steps one may take if its work grows with the dependants of a change.
pub(super) const LONG: u32 = MORE_TIME * MORE_TIME;

impl Smache {
    /// Reports that an entity was changed, inserted or deleted: the in-app trigger.
    ///
    /// Call it *after* the change is committed. When it returns, no reader gets an older value as `Fresh` any more, and
    /// the affected entries are queued for the workers. A source with a feed needs no such call.
    ///
    /// # Errors
    /// [`ErrorKind::Unregistered`](crate::ErrorKind::Unregistered) for an unknown source; the store's errors: the
    /// change is then *not* acknowledged, and the call must be made again. It is idempotent.
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
        let invalidation = self.engine.of_entities::<T>(ids, Moment::Committed).await?;
        self.engine.acknowledge(invalidation).await
    }

    /// Reports a change with the entity before and after it; `None` where it did not exist.
    ///
    /// With the images, relations and predicates find exactly the results that the change concerns.
    /// [`changed`](Self::changed) knows the id alone, and makes every result stale that has a relation from the source
    /// or a predicate on it.
    ///
    /// Every program that reports changes this way must register the functions whose relations they should affect: an
    /// older program does not know the relations of a newer version.
    ///
    /// # Errors
    /// As [`changed`](Self::changed), and [`ErrorKind::Argument`](crate::ErrorKind::Argument) when there is no entity,
    /// or the two are of different ids.
    pub async fn changed_from<T: EntityType + Clone>(
        &self,
        before: Option<&T>,
        after: Option<&T>,
    ) -> Result<ChangeToken> {
        let invalidation = self.engine.of_images(before, after, Moment::Committed).await?;
        self.engine.acknowledge(invalidation).await
    }

    /// Touches a tag: every result that depends on it goes stale. See [`tag`](crate::tag).
    ///
    /// # Errors
    /// As [`changed`](Self::changed).
    pub async fn changed_tag(&self, tag: &str) -> Result<ChangeToken> {
        self.engine.acknowledge(of_tag(tag)).await
    }

    /// Marks the result of a call stale: a worker recomputes it although no change is known.
    ///
    /// # Errors
    /// [`ErrorKind::Unregistered`](crate::ErrorKind::Unregistered),
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument), the store's errors.
    pub async fn invalidate<F: Computed>(&self, call: Call<F>) -> Result<ChangeToken> {
        self.engine.acknowledge(self.engine.of_call(&call)?).await
    }

    /// Marks all results of a function stale, whatever their arguments.
    ///
    /// # Errors
    /// [`ErrorKind::Unregistered`](crate::ErrorKind::Unregistered), the store's errors.
    pub async fn invalidate_function<F: Computed>(&self) -> Result<ChangeToken> {
        self.engine.acknowledge(self.engine.of_function::<F>()?).await
    }

    /// Marks everything of the namespace stale in one step. The values stay readable; maintenance hands them to the
    /// workers page by page, so that the store is not blocked.
    ///
    /// # Errors
    /// The store's errors.
    pub async fn invalidate_all(&self) -> Result<Epoch> {
        self.engine.timed("new epoch", self.engine.store.new_epoch()).await
    }
}

impl Engine {
    /// The dependencies that changes affect. Counts the changes.
    pub(crate) async fn affected(
        self: &Arc<Self>,
        changes: &[Change],
        moment: Moment,
    ) -> Result<Vec<ChangedDependency>> {
        super::counters::add(&self.tally.changes, changes.len());
        self.route(changes, moment).await
    }

    /// An invalidation for some entities of a source.
    pub(super) async fn of_entities<'a, T: EntityType>(
        self: &Arc<Self>,
        ids: impl IntoIterator<Item = &'a T::Id>,
        moment: Moment,
    ) -> Result<Invalidation> {
        let source = self.source_of::<T>()?.id().clone();
        let change = |id| Ok(Change::new(source.clone(), EntityKey::encode(id)?, ChangeKind::Update));
        let changes = ids.into_iter().map(change).collect::<Result<Vec<_>>>()?;
        Ok(Invalidation { changed: self.affected(&changes, moment).await?, ..Invalidation::default() })
    }

    /// An invalidation for an entity that changed from one image to another.
    pub(super) async fn of_images<T: EntityType + Clone>(
        self: &Arc<Self>,
        before: Option<&T>,
        after: Option<&T>,
        moment: Moment,
    ) -> Result<Invalidation> {
        let source = self.source_of::<T>()?.id().clone();
        let key = |entity: Option<&T>| entity.map(|entity| EntityKey::encode(entity.id())).transpose();
        let (key, kind) = match (key(before)?, key(after)?) {
            (Some(before), Some(after)) if before == after => (after, ChangeKind::Update),
            (None, Some(key)) => (key, ChangeKind::Insert),
            (Some(key), None) => (key, ChangeKind::Delete),
            (Some(before), Some(after)) => {
                let fix = "report a deletion and an insertion";
                let message = format!("a change of `{source}` goes from the id {before} to {after}: {fix}");
                return Err(Error::new(ErrorKind::Argument, message));
            }
            (None, None) => {
                let message = format!("a change of `{source}` has no entity before and none after it: give one");
                return Err(Error::new(ErrorKind::Argument, message));
            }
        };
        let image =
            |entity: Option<&T>| entity.map_or(Snapshot::Absent, |entity| Snapshot::Known(Image::new(entity.clone())));
        let change = Change { before: image(before), after: image(after), ..Change::new(source, key, kind) };
        Ok(Invalidation { changed: self.affected(&[change], moment).await?, ..Invalidation::default() })
    }

    /// An invalidation for the result of a call.
    pub(super) fn of_call<F: Computed>(&self, call: &Call<F>) -> Result<Invalidation> {
        let (_, key) = self.key(call)?;
        let changed = changed_dependency(Dependency::entry(&key.id), "the call was invalidated");
        Ok(Invalidation { changed: vec![changed], entries: vec![key.id], step: None })
    }

    /// An invalidation for all results of a function.
    pub(super) fn of_function<F: Computed>(&self) -> Result<Invalidation> {
        let function: FunctionKey = self.registry.get::<F>()?.key;
        let changed = changed_dependency(Dependency::function(function), "its function was invalidated");
        Ok(Invalidation { changed: vec![changed], ..Invalidation::default() })
    }

    pub(super) async fn acknowledge(&self, invalidation: Invalidation) -> Result<ChangeToken> {
        let report = async {
            // Asked before the step: if the generation changes in between, the token proves nothing, which is safe.
            let generation = self.some_generation().await?;
            Ok((generation, self.invalidate(invalidation).await?))
        };
        let reported: Result<_> = report.await;
        let (generation, invalidated) = reported
            .map_err(|error| error.with_context("effect", "the change is not acknowledged: report it again"))?;
        Ok(ChangeToken::new(&self.namespace, generation.as_number(), invalidated.revision))
    }

    /// Hands a change to the store, and again if the answer was lost: the step is idempotent. A change with very many
    /// dependants may take longer than other steps: after a timeout the next try has more time.
    pub(crate) async fn invalidate(&self, mut invalidation: Invalidation) -> Result<Invalidated> {
        let (mut tries, mut patience) = (0, 1);
        loop {
            let step = self.store.invalidate(invalidation.clone());
            let result = self.timed_for(patience, "invalidate", step).await;
            tries += 1;
            match result {
                Ok(invalidated) => {
                    self.enqueue_reported(&invalidated.jobs, Duration::ZERO).await;
                    return Ok(invalidated);
                }
                Err(error) if tries < TRIES && retryable(&error) => {
                    if error.kind() == ErrorKind::Timeout {
                        tracing::debug!(error = %error.report(), "a change takes long: the next try has more time");
                        patience *= MORE_TIME;
                    }
                    // A feed confirms up to the time at which it read the batch, which is long ago by now: the next
                    // batch confirms instead.
                    if let Some(step) = &mut invalidation.step {
                        (step.valid_for, step.caught_up) = (None, false);
                    }
                    tokio::time::sleep(jittered(Duration::from_millis(100))).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// An invalidation for a tag.
pub(super) fn of_tag(tag: &str) -> Invalidation {
    let changed = changed_dependency(Dependency::tag(tag), format_args!("the tag {tag:?} was touched"));
    Invalidation { changed: vec![changed], ..Invalidation::default() }
}

fn changed_dependency(dependency: Dependency, change: impl std::fmt::Display) -> ChangedDependency {
    ChangedDependency { dependency, cause: cause(SystemClock.now(), dependency, change) }
}

fn retryable(error: &Error) -> bool {
    use crate::ErrorKind::{Timeout, Unavailable};
    matches!(error.kind(), Unavailable | Timeout)
}

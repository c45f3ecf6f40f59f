//! Changes, from the application by `changed` and from feeds by batches, and the dependencies that they affect.

use std::{sync::Arc, time::Duration};

use super::{Engine, Moment, routes::cause};
use crate::{
    Call, Change, ChangeKind, ChangeToken, ChangedDependency, Clock, Computed, Dependency, EntityKey, EntityType,
    Error, ErrorKind, FunctionKey, Image, Invalidated, Invalidation, Result, Snapshot, SystemClock, backoff::jittered,
    counters::add,
};

/// How often a change is handed to a store that fails.
const TRIES: u32 = 3;
/// How many times longer the next try may take, after one that timed out.
const MORE_TIME: u32 = 6;
/// How many times longer than other steps one may take if its work grows with the dependants of a change.
pub(crate) const LONG: u32 = MORE_TIME * MORE_TIME;

impl Engine {
    /// The dependencies that changes affect. Counts the changes.
    pub(crate) async fn affected(
        self: &Arc<Self>,
        changes: &[Change],
        moment: Moment,
    ) -> Result<Vec<ChangedDependency>> {
        add(&self.tally.changes, changes.len());
        self.route(changes, moment).await
    }

    /// An invalidation for some entities of a source.
    pub(crate) async fn of_entities<'a, T: EntityType>(
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
    pub(crate) async fn of_images<T: EntityType + Clone>(
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
    pub(crate) fn of_call<F: Computed>(&self, call: &Call<F>) -> Result<Invalidation> {
        let (_, key) = self.key(call)?;
        let changed = changed_dependency(Dependency::entry(&key.id), "the call was invalidated");
        Ok(Invalidation { changed: vec![changed], entries: vec![key.id], step: None })
    }

    /// An invalidation for all results of a function.
    pub(crate) fn of_function<F: Computed>(&self) -> Result<Invalidation> {
        let function: FunctionKey = self.registry.get::<F>()?.key;
        let changed = changed_dependency(Dependency::function(function), "its function was invalidated");
        Ok(Invalidation { changed: vec![changed], ..Invalidation::default() })
    }

    pub(crate) async fn acknowledge(&self, invalidation: Invalidation) -> Result<ChangeToken> {
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
pub(crate) fn of_tag(tag: &str) -> Invalidation {
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

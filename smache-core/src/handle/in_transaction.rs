//! Reports of changes within the transaction that makes them: both happen, or neither does.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    Call, ChangeToken, Computed, EntityType, EntryId, Invalidation, Result, WriterTransaction,
    engine::{Engine, Moment, of_tag},
};

/// Reports changes within a transaction: see [`Smache::in_transaction`](crate::Smache::in_transaction).
///
/// # Errors
/// Of each method, beside those of the method of the same name on [`Smache`](crate::Smache):
/// - [`ErrorKind::WrongServer`](crate::ErrorKind::WrongServer): the store is not in the database of the transaction
/// - [`ErrorKind::Config`](crate::ErrorKind::Config): no transaction is open, or one that cannot see commits of others
///   meanwhile
/// - transient ones ([`Error::is_transient`](crate::Error::is_transient)): the transaction lost against another one, or
///   waited too long for one; roll it back and begin again
///
/// In any case nothing is reported, and the transaction must be rolled back.
///
/// # Cancel safety
/// A dropped call may have reported: roll the transaction back.
#[must_use = "nothing is reported until one of its methods is called"]
pub struct InTransaction<'a> {
    pub(super) engine: Arc<Engine>,
    pub(super) transaction: Box<dyn WriterTransaction + 'a>,
}

impl InTransaction<'_> {
    /// As [`Smache::changed`](crate::Smache::changed).
    ///
    /// # Errors
    /// See [`InTransaction`].
    pub async fn changed<T: EntityType>(&mut self, id: &T::Id) -> Result<Uncommitted> {
        self.changed_many::<T>([id]).await
    }

    /// As [`Smache::changed_many`](crate::Smache::changed_many): one step, however many there are.
    ///
    /// # Errors
    /// See [`InTransaction`].
    pub async fn changed_many<'a, T: EntityType>(
        &mut self,
        ids: impl IntoIterator<Item = &'a T::Id>,
    ) -> Result<Uncommitted> {
        let invalidation = self.engine.of_entities::<T>(ids, Moment::Uncommitted).await?;
        self.report(invalidation).await
    }

    /// As [`Smache::changed_from`](crate::Smache::changed_from). The image of before must be the row that this
    /// transaction replaced: read it with `FOR UPDATE`, or take the answer of `RETURNING`.
    ///
    /// # Errors
    /// See [`InTransaction`].
    pub async fn changed_from<T: EntityType + Clone>(
        &mut self,
        before: Option<&T>,
        after: Option<&T>,
    ) -> Result<Uncommitted> {
        let invalidation = self.engine.of_images(before, after, Moment::Uncommitted).await?;
        self.report(invalidation).await
    }

    /// As [`Smache::changed_tag`](crate::Smache::changed_tag).
    ///
    /// # Errors
    /// See [`InTransaction`].
    pub async fn changed_tag(&mut self, tag: &str) -> Result<Uncommitted> {
        self.report(of_tag(tag)).await
    }

    /// As [`Smache::invalidate`](crate::Smache::invalidate).
    ///
    /// # Errors
    /// See [`InTransaction`].
    pub async fn invalidate<F: Computed>(&mut self, call: Call<F>) -> Result<Uncommitted> {
        let invalidation = self.engine.of_call(&call)?;
        self.report(invalidation).await
    }

    /// As [`Smache::invalidate_function`](crate::Smache::invalidate_function).
    ///
    /// # Errors
    /// See [`InTransaction`].
    pub async fn invalidate_function<F: Computed>(&mut self) -> Result<Uncommitted> {
        let invalidation = self.engine.of_function::<F>()?;
        self.report(invalidation).await
    }

    async fn report(&mut self, invalidation: Invalidation) -> Result<Uncommitted> {
        let (token, jobs) = self
            .engine
            .invalidate_in(&mut *self.transaction, invalidation)
            .await
            .map_err(|error| error.with_context("effect", "nothing is reported: roll the transaction back"))?;
        Ok(Uncommitted { engine: Arc::clone(&self.engine), token, jobs })
    }
}

impl fmt::Debug for InTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InTransaction").field("namespace", &self.engine.namespace).finish_non_exhaustive()
    }
}

/// A report in a transaction that has not ended yet. After a rollback it means nothing: drop it.
#[must_use = "call `committed` after the commit; after a rollback, drop it"]
pub struct Uncommitted {
    engine: Arc<Engine>,
    token: ChangeToken,
    jobs: Vec<EntryId>,
}

impl Uncommitted {
    /// Joins this report with another one of the same transaction.
    pub fn and(mut self, other: Self) -> Self {
        // Of two generations of the store only one has the transaction, and the later report has seen it.
        self.token = self.token.and(other.token).unwrap_or(other.token);
        self.jobs.extend(other.jobs);
        self
    }

    /// The transaction has committed: queues the jobs, if the queue is another backend than the store, and answers the
    /// token for [`Call::at_least`].
    ///
    /// Where store and queue are one backend, there is nothing left to do, and a program that ends before this call
    /// loses nothing. Elsewhere the reconciler finds the entries within some seconds.
    ///
    /// # Cancel safety
    /// A dropped call loses at most the jobs, which the reconciler finds.
    pub async fn committed(self) -> ChangeToken {
        self.engine.enqueue_reported(&self.jobs, Duration::ZERO).await;
        self.token
    }
}

impl fmt::Debug for Uncommitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uncommitted")
            .field("token", &self.token)
            .field("jobs", &self.jobs.len())
            .finish_non_exhaustive()
    }
}

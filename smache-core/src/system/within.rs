//! Changes that are reported within the transaction that makes them: both happen, or neither does.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{Inner, Moment, Smache, change::of_tag};
use crate::{
    Call, ChangeToken, Computed, EntityType, EntryId, Epoch, Error, ErrorKind, Incarnation, InvalidateWithin,
    Invalidation, Lookup, Result, WithinOutcome, WriterTransaction, change_token::StoreLife,
};

/// Which life of the store this program has last seen, so that a transaction need not ask another connection for it.
#[derive(Debug, Default)]
pub(crate) struct Life(Mutex<Option<LifeSeen>>);

/// What a look-up said of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LifeSeen {
    incarnation: Incarnation,
    epoch: Epoch,
}

impl LifeSeen {
    pub(crate) fn of(lookup: &Lookup) -> Self {
        Self { incarnation: lookup.incarnation.clone(), epoch: lookup.vouch.epoch }
    }

    /// For tokens.
    pub(crate) fn as_number(&self) -> StoreLife {
        StoreLife::new(&self.incarnation, &self.epoch)
    }
}

impl Life {
    pub(crate) fn remember(&self, lookup: &Lookup) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(LifeSeen::of(lookup));
    }

    fn known(&self) -> Option<LifeSeen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Smache {
    /// Reports changes within the transaction that makes them, in the database that also holds the store: when it
    /// commits, the results that depend on them are stale for everybody, and when it is rolled back, nothing has
    /// happened. No moment is left in which a program can die between its change and the report of it.
    ///
    /// Call it **last, right before the commit**. From the report on to the end of the transaction no computation of the
    /// namespace can be stored, no other writer can report and no feed is heard: they wait, a few seconds, and then try
    /// again later. Readers of stored results never wait. A transaction that reports first and then waits for a row of
    /// another one that is about to report is a deadlock, which the database ends by aborting one of the two.
    ///
    /// Every writer of the data has to do so: what is written without a report is not known. After an error the
    /// transaction must be rolled back, since its change is not reported. Savepoints count: what is reported inside of one
    /// that is rolled back was not reported.
    ///
    /// The transaction is of a backend whose store lives in the same database, such as `PostgresTransaction`.
    pub fn within<'a>(&self, transaction: impl WriterTransaction + 'a) -> Within<'a> {
        Within { inner: Arc::clone(&self.inner), transaction: Box::new(transaction) }
    }
}

/// The verbs that report changes, within a transaction: see [`Smache::within`].
///
/// # Errors
/// Of each verb, beside those of the verb of the same name on [`Smache`]:
/// - [`ErrorKind::WrongServer`]: the store is not in the database of the transaction
/// - [`ErrorKind::Config`]: no transaction is open, or one that cannot see what others commit meanwhile
/// - transient ones ([`Error::is_transient`]): it lost against another transaction, or waited too long for one; roll it
///   back and begin anew
///
/// In any case nothing is reported, and the transaction must be rolled back.
///
/// # Cancel safety
/// A verb that is dropped may have reported: roll the transaction back.
#[must_use = "nothing is reported until one of the verbs is called"]
pub struct Within<'a> {
    inner: Arc<Inner>,
    transaction: Box<dyn WriterTransaction + 'a>,
}

impl Within<'_> {
    /// As [`Smache::changed`].
    ///
    /// # Errors
    /// See [`Within`].
    pub async fn changed<T: EntityType>(&mut self, id: &T::Id) -> Result<Uncommitted> {
        self.changed_many::<T>([id]).await
    }

    /// As [`Smache::changed_many`]: one step, however many there are.
    ///
    /// # Errors
    /// See [`Within`].
    pub async fn changed_many<'a, T: EntityType>(
        &mut self,
        ids: impl IntoIterator<Item = &'a T::Id>,
    ) -> Result<Uncommitted> {
        let invalidation = self.inner.of_entities::<T>(ids, Moment::Uncommitted).await?;
        self.report(invalidation).await
    }

    /// As [`Smache::changed_from`]. The image of before must be the one that this transaction replaced: read it with
    /// `FOR UPDATE`, or take what `RETURNING` answers.
    ///
    /// # Errors
    /// See [`Within`].
    pub async fn changed_from<T: EntityType + Clone>(
        &mut self,
        before: Option<&T>,
        after: Option<&T>,
    ) -> Result<Uncommitted> {
        let invalidation = self.inner.of_images(before, after, Moment::Uncommitted).await?;
        self.report(invalidation).await
    }

    /// As [`Smache::changed_tag`].
    ///
    /// # Errors
    /// See [`Within`].
    pub async fn changed_tag(&mut self, tag: &str) -> Result<Uncommitted> {
        self.report(of_tag(tag)).await
    }

    /// As [`Smache::invalidate`].
    ///
    /// # Errors
    /// See [`Within`].
    pub async fn invalidate<F: Computed>(&mut self, call: Call<F>) -> Result<Uncommitted> {
        let invalidation = self.inner.of_call(&call)?;
        self.report(invalidation).await
    }

    /// As [`Smache::invalidate_function`].
    ///
    /// # Errors
    /// See [`Within`].
    pub async fn invalidate_function<F: Computed>(&mut self) -> Result<Uncommitted> {
        let invalidation = self.inner.of_function::<F>()?;
        self.report(invalidation).await
    }

    async fn report(&mut self, invalidation: Invalidation) -> Result<Uncommitted> {
        self.step(invalidation)
            .await
            .map_err(|error| error.with_context("effect", "nothing is reported: roll the transaction back"))
    }

    async fn step(&mut self, invalidation: Invalidation) -> Result<Uncommitted> {
        let (inner, transaction) = (&self.inner, &mut self.transaction);
        let bound = inner.settings.store_timeout;
        let mut asked = inner.some_life().await?;
        for last in [false, true] {
            let within = InvalidateWithin {
                namespace: inner.namespace.clone(),
                incarnation: asked.incarnation.clone(),
                jobs: inner.store.job_writes(),
                // The server gives up before this program does, so that it can say for whom it waited.
                patience: bound.mul_f64(0.8).max(Duration::from_millis(1)),
                invalidation: invalidation.clone(),
            };
            match inner.timed("invalidate", transaction.invalidate(within)).await {
                Ok(WithinOutcome::Invalidated(invalidated)) => {
                    let inner = Arc::clone(inner);
                    let token = ChangeToken::new(&inner.namespace, asked.as_number(), invalidated.clock);
                    return Ok(Uncommitted { inner, token, jobs: invalidated.jobs });
                }
                Ok(WithinOutcome::OtherStore) if last => break,
                // It may be another life than the one that this program has last seen.
                Ok(WithinOutcome::OtherStore) => asked = inner.present_life().await?,
                Err(error) if error.kind() == ErrorKind::WrongServer => return Err(inner.name_store(error).await),
                Err(error) => return Err(error),
            }
        }
        let fix = "give the transaction's database to the builder as the backend, or call `changed` after the commit";
        let message = format!(
            "the store is not in the database of the transaction, so that a change and its report cannot be one step: {fix}"
        );
        Err(inner.name_store(Error::new(ErrorKind::WrongServer, message)).await)
    }
}

impl Inner {
    pub(super) async fn present_life(&self) -> Result<LifeSeen> {
        let lookup = self.timed("lookup", self.store.lookup(&[])).await?;
        self.life.remember(&lookup);
        Ok(LifeSeen::of(&lookup))
    }

    /// The one that was last seen. A token of an earlier one than the present proves nothing, which is safe.
    pub(super) async fn some_life(&self) -> Result<LifeSeen> {
        match self.life.known() {
            Some(known) => Ok(known),
            None => self.present_life().await,
        }
    }

    /// The error with what the store is, if it says so.
    async fn name_store(&self, error: Error) -> Error {
        match self.timed("examine", self.store.examine()).await {
            Ok(examination) => error.with_context("store", examination.what),
            Err(_) => error,
        }
    }
}

impl fmt::Debug for Within<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Within").field("namespace", &self.inner.namespace).finish_non_exhaustive()
    }
}

/// A report in a transaction that is not over yet. After a rollback it means nothing: drop it.
#[must_use = "call `committed` after the commit; after a rollback, drop it"]
pub struct Uncommitted {
    inner: Arc<Inner>,
    token: ChangeToken,
    jobs: Vec<EntryId>,
}

impl Uncommitted {
    /// This report and another one of the same transaction.
    pub fn and(mut self, other: Self) -> Self {
        // Of two lives of the store only one has the transaction: the later report has seen it.
        self.token = self.token.and(other.token).unwrap_or(other.token);
        self.jobs.extend(other.jobs);
        self
    }

    /// The transaction has committed: queues the jobs, if the queue is another backend than the store, and answers the
    /// token for [`Call::at_least`].
    ///
    /// Where store and queue are one backend there is nothing left to do, and a program that ends before this call loses
    /// nothing. Elsewhere the reconciler finds the entries, within some seconds.
    ///
    /// # Cancel safety
    /// May be dropped; see above.
    pub async fn committed(self) -> ChangeToken {
        self.inner.enqueue_reported(&self.jobs, Duration::ZERO).await;
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

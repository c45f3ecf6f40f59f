//! Reporting changes, and waiting for those that feeds report.

use std::sync::Arc;

use super::{InTransaction, Smache};
use crate::{
    Call, ChangeToken, Computed, EntityType, Epoch, Result, WriterTransaction,
    engine::{Moment, of_tag},
    service::IntentBuilder,
};

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

    /// Reports changes within the transaction that makes them, in the database that also holds the store. When the
    /// transaction commits, the dependent results are stale for every reader; when it is rolled back, nothing has
    /// happened. A program cannot die between its change and the report of it.
    ///
    /// Call it **last, right before the commit**. From the report to the end of the transaction no run of the
    /// namespace can be stored, no other writer can report and no feed can deliver: they wait, a few seconds, and then
    /// try again later. Readers of stored results never wait. A transaction that reports first and then waits for a row
    /// of another one that is about to report is a deadlock, which the database ends by aborting one of the two.
    ///
    /// Every writer of the data has to report: SMache does not know of writes without a report. After an error the
    /// transaction must be rolled back, since its change is not reported. Savepoints count: a rollback to a savepoint
    /// takes back the reports since then.
    ///
    /// The transaction belongs to a backend whose store is in the same database, such as `PostgresTransaction`.
    pub fn in_transaction<'a>(&self, transaction: impl WriterTransaction + 'a) -> InTransaction<'a> {
        InTransaction { engine: Arc::clone(&self.engine), transaction: Box::new(transaction) }
    }

    /// Announces changes that the application is about to commit, for sources without a feed.
    ///
    /// [`changed`](Self::changed) comes after the commit: a program that ends in between never makes the call. An
    /// announcement is stored before the commit. Unless [`Intent::committed`](crate::Intent::committed) or
    /// [`Intent::withdrawn`](crate::Intent::withdrawn) ends it, any worker reports its changes once its time is over.
    /// The announcement alone makes nothing stale.
    ///
    /// ```
    /// # use smache_core::{EntityType, Result, Smache};
    /// # async fn transfer<Account: EntityType<Id = u64>>(smache: &Smache) -> Result<()> {
    /// let intent = smache.intend().changes::<Account>(&1)?.changes::<Account>(&2)?.announce().await?;
    /// // … the transaction of the application, which commits …
    /// intent.committed().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn intend(&self) -> IntentBuilder {
        IntentBuilder::new(&self.engine)
    }

    /// Waits until every change that was committed before this call is acknowledged, on all sources behind feeds, and
    /// answers a token of that moment.
    ///
    /// A feed reads a change some milliseconds after its commit. Until then readers get the old value as `Fresh`, since
    /// the change is not acknowledged yet. A writer that wants to read its own change calls this after the commit:
    /// afterwards a `get` of an affected result answers it as stale or computes it again, and `.fresh()` or
    /// [`.at_least(token)`](crate::Call::at_least) answers the new value. Pass the token on to the place that handles
    /// the next request.
    ///
    /// ```
    /// # use smache_core::{ChangeToken, Result, Smache};
    /// # async fn handler(smache: &Smache) -> Result<String> {
    /// // … UPDATE, COMMIT …
    /// let token = smache.caught_up().await?;
    /// let cookie = token.to_string();
    /// # Ok(cookie)
    /// # }
    /// # fn next(cookie: &str) -> Result<ChangeToken> { cookie.parse() }
    /// ```
    ///
    /// It works in every process of the namespace, whichever process leads the feeds. It needs one round trip to each
    /// database, and then some to the store, a few milliseconds apart, until the feed has delivered. Changes that only
    /// the application reports are acknowledged by their reports, and need no barrier.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) with the name of the feed that did not reach the present
    /// within the builder's `wait_timeout`, or 10 seconds without one; the errors of the sources and of the store.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn caught_up(&self) -> Result<ChangeToken> {
        self.tasks.caught_up(&self.engine, self.engine.sources.values()).await
    }

    /// [`caught_up`](Self::caught_up) on the source of one type of entities.
    ///
    /// # Errors
    /// As [`caught_up`](Self::caught_up), and [`ErrorKind::Unregistered`](crate::ErrorKind::Unregistered) for an
    /// unknown source.
    pub async fn caught_up_on<T: EntityType>(&self) -> Result<ChangeToken> {
        self.tasks.caught_up(&self.engine, [self.engine.source_of::<T>()?]).await
    }
}

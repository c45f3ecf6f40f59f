//! The seam to transactions of writers, in a database that also holds a store.

use std::time::Duration;

use async_trait::async_trait;

use super::{Invalidated, Invalidation, JobWrites};
use crate::{Incarnation, Namespace, Result};

/// An open transaction of a writer, which can take an invalidation along: for
/// [`Smache::in_transaction`](crate::Smache::in_transaction).
///
/// Its step is [`InvalidationStore::invalidate`](crate::InvalidationStore::invalidate) as a part of the transaction, in one step for
/// any number of dependants: others see it when they see the writer's changes, or never.
///
/// # Contract
/// The bullets name tests of `smache-sql`.
///
/// - MUST NOT mark anything in a store other than the requested one
///   `transaction_of_another_database_is_refused_and_marks_nothing`
/// - MUST see every dependant that a run has committed before
///   `run_that_committed_just_before_the_report_is_marked_by_it`
/// - MUST keep runs from committing from this step on to the end of the transaction, and let them find the change then
///   `run_that_read_before_a_commit_is_not_fresh_after_it`
/// - MUST leave nothing after a rollback `results_are_stale_with_the_commit_and_untouched_by_a_rollback`
///
/// # Cancel safety
/// A step that was dropped half-way may have happened: the transaction must be rolled back.
#[async_trait]
pub trait WriterTransaction: Send {
    /// Marks every dependant of the change stale, with the jobs where the store writes them itself, and raises the
    /// revision.
    ///
    /// # Errors
    /// [`ErrorKind::WrongServer`](crate::ErrorKind::WrongServer) when there is no store in its database;
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for a transaction that cannot take an invalidation along, and
    /// transient errors when it lost against others or waited too long for them. The transaction must be rolled back.
    async fn invalidate(&mut self, request: InvalidateInTransaction) -> Result<InTransactionOutcome>;
}

/// The request to a writer's transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidateInTransaction {
    /// The namespace.
    pub namespace: Namespace,
    /// The incarnation of the store that is meant.
    pub incarnation: Incarnation,
    /// Whether the store or the engine writes the jobs.
    pub jobs: JobWrites,
    /// How long it may wait for the transactions of others.
    pub patience: Duration,
    /// The change; without a step of a feed.
    pub invalidation: Invalidation,
}

/// The answer to [`InvalidateInTransaction`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InTransactionOutcome {
    /// The invalidation is a part of the transaction.
    Invalidated(Invalidated),
    /// Nothing was done: the store in the transaction's database is another one, or another incarnation of it.
    OtherStore,
}

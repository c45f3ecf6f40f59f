//! The interface of a database.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use smache_core::{Examination, Incarnation, Result, Timestamp};

use crate::Limits;

/// An ordered key-value store with transactions. Keys and values are bytes; keys are compared byte by byte.
///
/// The points of the contracts name the cases in the suites of `smache-testkit` that fail when a store breaks them.
///
/// Keys have fewer than 300 bytes, and all keys of a namespace have the same start. Values are as large as the cached
/// results, plus their metadata: a store with a bound says so in its [`limits`](Self::limits), or cuts them in pieces.
///
/// # Clocks
/// Leases, validities and due times are compared with [`Started::now`] and with nothing else. A store without a clock
/// takes one that its users share, and a clock of each user's machine is one whose users differ by a skew. It costs:
///
/// - **Freshness**: a reader whose clock is behind the one that confirmed a source still calls a value fresh for that
///   much longer after a feed has died or the store was cut off. The bound on that is `feed_validity` of the builder
///   plus the skew.
/// - **Runs and reservations**: a process whose clock is ahead takes over a lease that early, so that a function runs
///   twice. Of two runs one stores its value; nothing wrong is stored. Leases have to be several times the skew.
/// - **Expiry and delays** are off by the skew.
///
/// A change that was acknowledged is never missed: revisions order it, not clocks. Keep the skew well below
/// `feed_validity`, which is 2 s unless the builder says otherwise, or use the clock of one server.
#[async_trait]
pub trait KeyValue: Debug + Send + Sync + 'static {
    /// Starts a transaction.
    ///
    /// A store with one writer at a time may let [`Access::Write`] wait here until the earlier writer ends; it must not
    /// let it wait without end.
    ///
    /// # Contract
    /// - MUST take [`Started::now`] from the store's own clock, or from one that all its users share, not later than
    ///   the state that the transaction reads `lapsed_lease_is_taken_over_and_the_zombie_is_refused`
    /// - MUST give [`Started::incarnation`] of the state that the transaction reads `new_incarnation_is_named`
    /// - MUST NOT commit a transaction in another incarnation of the store than it started in
    ///   `run_of_the_incarnation_before_stores_nothing`
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](smache_core::ErrorKind::Unavailable) when the store cannot be reached, and
    /// [`conflict`](crate::conflict) when another transaction conflicts.
    ///
    /// # Cancel safety
    /// A dropped call leaves neither a lock nor a transaction.
    async fn begin(&self, access: Access) -> Result<Started>;

    /// Starts a transaction as [`begin`](Self::begin) does, and reads its first keys as [`Transaction::get`] does, none
    /// perhaps. A remote store that does both in one round trip makes a look-up one round trip. The default is one call
    /// after the other.
    ///
    /// # Errors
    /// Those of both.
    ///
    /// # Cancel safety
    /// That of [`begin`](Self::begin).
    async fn begin_and_get(&self, access: Access, keys: &[Bytes]) -> Result<(Started, Vec<Option<Bytes>>)> {
        let mut started = self.begin(access).await?;
        let values = if keys.is_empty() { Vec::new() } else { started.transaction.get(keys).await? };
        Ok((started, values))
    }

    /// The most that the store takes at once. The default has no limit.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// Describes the store for `Inspector::doctor`: its kind and place, without any secret, and the dangers of its
    /// set-up. The store and the queue return the same. It changes nothing. The default has no findings.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](smache_core::ErrorKind::Unavailable) when the store cannot be reached.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    async fn examine(&self) -> Result<Examination> {
        Ok(Examination::new("a key-value store of the application's own"))
    }
}

/// A transaction: it reads one consistent state, and writes all or nothing, at its end.
///
/// It holds no pending writes: the step hands them to [`commit`](Self::commit) in one batch, and serves later reads of
/// them from its batch. A transaction that is dropped without a commit leaves no trace.
///
/// # Errors
/// Every method: [`conflict`](crate::conflict) when another transaction conflicted and nothing was written: the step
/// runs again in a new transaction, a bounded number of times;
/// [`ErrorKind::Unavailable`](smache_core::ErrorKind::Unavailable) when the store cannot be reached.
///
/// # Cancel safety
/// A dropped `commit` has happened or not as a whole; so has one that fails with another error than a conflict. Every
/// step may be repeated.
#[async_trait]
pub trait Transaction: Send {
    /// Reads keys: one element each, in order, `None` where there is none. One round trip.
    async fn get(&mut self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>>;

    /// Reads the first pairs of a range in ascending order of the keys, at most `limit` of them: those from `from`
    /// on, with it, up to `to`, without it. A step fails where an answer leaves the bounds.
    ///
    /// # Contract
    /// - MUST answer `limit` pairs when the range has as many: a shorter answer is the end of the range
    ///   `many_dependants_go_stale_in_pages`
    async fn scan(&mut self, from: &Bytes, to: &Bytes, limit: usize) -> Result<Vec<(Bytes, Bytes)>>;

    /// Applies a batch of writes and ends the transaction. Each key is written once; they are in ascending order.
    ///
    /// # Contract
    /// - MUST fail with [`conflict`](crate::conflict) when something that the transaction has read, a key that was
    ///   absent and a new key in a scanned range included, was changed by another one since: transactions are
    ///   serializable `revision_counts_every_invalidation`, `fresh_value_reflects_every_acknowledged_change`
    /// - MUST make all writes visible at once, and before it returns, to every transaction that begins afterwards
    ///   `lookup_never_mixes_an_old_entry_with_a_new_validity`, `dropped_steps_happen_as_a_whole`
    /// - MUST keep them: when they may be lost, for example by a crash or by a failover, the store is another
    ///   [incarnation](Started::incarnation) afterwards `attach_on_a_new_incarnation_starts_an_epoch`
    async fn commit(self: Box<Self>, writes: Vec<Write>) -> Result<()>;
}

/// The purpose of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only reading: it is dropped without a commit. It does not wait, where the store allows that.
    Read,
    /// Reading, and then writing.
    Write,
}

/// A transaction, with the time and the incarnation of the store at its start.
pub struct Started {
    /// The time by the store's clock. [What the skew of a shared one costs](KeyValue#clocks).
    pub now: Timestamp,
    /// The incarnation of the store: another one whenever acknowledged writes may be lost, for example after a crash of
    /// a store that does not write through, a failover to a replica that lags, or a restored backup.
    pub incarnation: Incarnation,
    /// The transaction.
    pub transaction: Box<dyn Transaction>,
}

impl Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Started")
            .field("now", &self.now)
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}

/// One write of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The key.
    pub key: Bytes,
    /// Its new value; `None` removes it.
    pub value: Option<Bytes>,
}

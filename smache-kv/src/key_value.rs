//! The interface of a database.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use smache_core::{Examination, Incarnation, Result, Timestamp};

use crate::Limits;

/// An ordered key-value store with transactions. Keys and values are bytes; keys are compared byte by byte.
///
/// The points of the contracts name the cases of `key_value_suite!` and `key_value_incarnation_suite!` in
/// `smache-testkit`, which fail when a store breaks them.
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
    /// - MUST take [`Started::now`] from the store's own clock, or from one that all its users share: one clock for
    ///   readers and writers `readers_and_writers_have_one_clock`
    /// - MUST give a state that has everything that was committed before that time `state_is_as_new_as_its_time`
    /// - MUST give [`Started::incarnation`] of the state that the transaction reads, and keep it while nothing is lost
    ///   `incarnation_stays_while_nothing_is_lost`, `later_transactions_name_the_new_incarnation`
    /// - MUST NOT commit a transaction in another incarnation of the store than it started in
    ///   `transaction_of_the_incarnation_before_commits_nothing`
    /// - MUST NOT let a reader wait without end for a writer `reader_gets_its_turn`
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](smache_core::ErrorKind::Unavailable) when the store cannot be reached, and
    /// [`conflict`](crate::conflict) when another transaction conflicts.
    ///
    /// # Cancel safety
    /// A dropped call leaves neither a lock nor a transaction (`dropped_begin_leaves_no_lock`).
    async fn begin(&self, access: Access) -> Result<Started>;

    /// Starts a transaction as [`begin`](Self::begin) does, and reads its first keys as [`Transaction::get`] does, none
    /// perhaps. A remote store that does both in one round trip makes a look-up one round trip. The default is one call
    /// after the other.
    ///
    /// # Contract
    /// - MUST answer as [`Transaction::get`] does `first_keys_are_answered_in_order`
    /// - MUST read the state that the rest of the transaction reads `first_keys_are_of_the_state_of_the_rest`
    /// - MUST let the commit fail with [`conflict`](crate::conflict) when another transaction has changed one of these
    ///   keys `first_key_that_changes_is_a_conflict`
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
    ///
    /// # Contract
    /// - MUST take batches and values as large as it says, and without a limit those of a result with 10,000
    ///   dependencies and of one with 16 MiB `batches_up_to_the_limits_are_taken`
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
/// them from its batch.
///
/// # Contract
/// - MUST leave nothing of a transaction that is dropped without a commit, and no lock
///   `dropped_transaction_leaves_nothing`, `dropped_begin_leaves_no_lock`
///
/// # Errors
/// Every method: [`conflict`](crate::conflict) when another transaction conflicted and nothing was written: the step
/// runs again in a new transaction, a bounded number of times;
/// [`ErrorKind::Unavailable`](smache_core::ErrorKind::Unavailable) when the store cannot be reached.
///
/// # Cancel safety
/// A dropped `commit` has happened or not as a whole, and leaves no lock; so has one that fails with another error than
/// a conflict. Every step may be repeated.
#[async_trait]
pub trait Transaction: Send {
    /// Reads keys. One round trip.
    ///
    /// # Contract
    /// - MUST answer one element per key, in order, `None` where there is none `get_answers_in_order`
    /// - MUST give values as they were written, empty ones and large ones, under keys of any bytes
    ///   `keys_and_values_are_kept_as_they_are`, `last_write_of_a_key_counts`
    /// - MUST read the state of [`begin`](KeyValue::begin), as every other read of the transaction does, or fail with
    ///   [`conflict`](crate::conflict) `transaction_reads_one_state`
    async fn get(&mut self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>>;

    /// Reads the first pairs of a range in ascending order of the keys, at most `limit` of them: those from `from`
    /// on, with it, up to `to`, without it. A step fails where an answer leaves the bounds.
    ///
    /// # Contract
    /// - MUST begin with the key `from`, if there is one, and end before the key `to`
    ///   `range_has_its_start_and_not_its_end`
    /// - MUST sort keys byte by byte `range_is_in_the_order_of_the_bytes`
    /// - MUST answer `limit` pairs when the range has as many: a shorter answer is the end of the range
    ///   `range_is_as_long_as_its_limit`, `range_is_read_page_by_page`
    /// - MUST read the same state as [`get`](Self::get) `transaction_reads_one_state`, `sum_of_moving_parts_stays`
    async fn scan(&mut self, from: &Bytes, to: &Bytes, limit: usize) -> Result<Vec<(Bytes, Bytes)>>;

    /// Applies a batch of writes and ends the transaction. Each key is written once; they are in ascending order.
    ///
    /// # Contract
    /// - MUST fail with [`conflict`](crate::conflict) when a key that the transaction has read was changed by another
    ///   one since, also one that was absent or is removed: transactions are serializable `changed_key_is_a_conflict`,
    ///   `new_key_is_a_conflict`, `removed_key_is_a_conflict`, `counters_lose_nothing`
    /// - MUST fail so when a scanned range has another key or value, or one less: up to its last pair where the limit
    ///   ended the answer, up to its end elsewhere `new_key_in_a_scanned_range_is_a_conflict`,
    ///   `key_removed_from_a_scanned_range_is_a_conflict`, `value_changed_in_a_scanned_range_is_a_conflict`,
    ///   `new_key_before_the_limit_of_a_scan_is_a_conflict`, `one_of_many_finds_the_range_empty`
    /// - MUST fail so whatever the two transactions write: other keys than they read, too
    ///   `crossed_reads_and_writes_are_a_conflict`, `key_and_range_crossed_are_a_conflict`
    /// - MAY commit transactions that read nothing, one after the other
    ///   `batches_without_reads_come_one_after_the_other`
    /// - MUST make all writes visible at once `batch_is_seen_as_a_whole`, `dropped_commit_happens_as_a_whole`,
    ///   `large_batch_is_one_commit`, `random_batches_agree_with_a_map`
    /// - MUST make them visible, before it returns, to every transaction that begins afterwards
    ///   `commit_is_seen_by_every_later_transaction`
    /// - MUST keep them: when they may be lost, for example by a crash or by a failover, the store is another
    ///   [incarnation](Started::incarnation) afterwards `later_transactions_name_the_new_incarnation`
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

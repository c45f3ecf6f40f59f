//! The cases of a [`KeyValue`] by theme, directly on the interface.

pub mod begins;
pub mod commits;
pub mod isolation;
pub mod lives;
pub mod races;
pub mod ranges;
pub mod reads;
pub mod time;

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use smache_core::{Error, ErrorKind, Incarnation, Result, Timestamp, Token};
use smache_kv::{Access, KeyValue, Started, Transaction, Write};

use crate::KeyValueHarness;

/// How often a transaction of a case runs before the case gives up: the steps of a backend run a hundred times.
const TRIES: u32 = 1_000;

/// How long a case waits for a transaction that a store makes wait for another one.
const OVERLAP: Duration = Duration::from_millis(60);

/// Bounds everything that a store must not make wait without end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The keys of a case: they have the same start, which no other case uses.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) store: Arc<dyn KeyValue>,
    start: String,
}

/// The reads of a transaction, and what it writes at its end.
pub(crate) type Work = for<'a> fn(&'a mut Tx) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// A transaction under way, with the keys of a case.
pub(crate) struct Tx {
    pub(crate) now: Timestamp,
    pub(crate) incarnation: Incarnation,
    place: Place,
    transaction: Box<dyn Transaction>,
    writes: BTreeMap<Bytes, Option<Bytes>>,
}

pub(crate) fn is_conflict(error: &Error) -> bool {
    error.kind() == ErrorKind::Contended
}

/// A short pause before the next try, so that two transactions do not meet at each.
async fn pause() {
    let [random, ..] = *Token::random().as_bytes();
    tokio::time::sleep(Duration::from_micros(20 * u64::from(random))).await;
}

/// The bytes of a number.
pub(crate) fn bytes_of(number: u64) -> Bytes {
    number.to_string().into()
}

fn number_in(value: Option<&Bytes>) -> u64 {
    let text = value.map_or("0", |value| std::str::from_utf8(value).expect("the case has written a text"));
    text.parse().expect("the case has written a number")
}

impl Place {
    pub(crate) fn of(harness: &KeyValueHarness) -> Self {
        Self { store: Arc::clone(harness.role()), start: format!("case-{}/", Token::random()) }
    }

    pub(crate) fn key(&self, rest: impl AsRef<[u8]>) -> Bytes {
        [self.start.as_bytes(), rest.as_ref()].concat().into()
    }

    /// One try to begin a transaction.
    pub(crate) async fn try_begin(&self, access: Access) -> Result<Tx> {
        let begun = tokio::time::timeout(PATIENCE, self.store.begin(access)).await;
        let Started { now, incarnation, transaction } = begun.expect("a transaction begins within a minute")?;
        Ok(Tx { now, incarnation, place: self.clone(), transaction, writes: BTreeMap::new() })
    }

    pub(crate) async fn begin(&self, access: Access) -> Tx {
        for _ in 0..TRIES {
            match self.try_begin(access).await {
                Err(error) if is_conflict(&error) => pause().await,
                begun => return begun.expect("begin"),
            }
        }
        panic!("no transaction begins: {TRIES} tries conflicted");
    }

    /// Begins with the first keys, by [`begin_and_get`](smache_kv::KeyValue::begin_and_get).
    pub(crate) async fn begin_and_get(&self, access: Access, keys: &[Bytes]) -> (Tx, Vec<Option<Bytes>>) {
        for _ in 0..TRIES {
            let begun = tokio::time::timeout(PATIENCE, self.store.begin_and_get(access, keys)).await;
            match begun.expect("a transaction begins within a minute") {
                Err(error) if is_conflict(&error) => pause().await,
                begun => {
                    let (Started { now, incarnation, transaction }, values) = begun.expect("begin_and_get");
                    assert_eq!(values.len(), keys.len(), "one element a key");
                    return (
                        Tx { now, incarnation, place: self.clone(), transaction, writes: BTreeMap::new() },
                        values,
                    );
                }
            }
        }
        panic!("no transaction begins with its first keys: {TRIES} tries conflicted");
    }

    /// Runs a transaction until it does not conflict.
    pub(crate) async fn run(&self, work: Work) {
        for _ in 0..TRIES {
            match self.attempt(work).await {
                Err(error) if is_conflict(&error) => pause().await,
                done => return done.expect("a transaction"),
            }
        }
        panic!("{TRIES} tries of a transaction conflicted");
    }

    async fn attempt(&self, work: Work) -> Result<()> {
        let mut tx = self.try_begin(Access::Write).await?;
        work(&mut tx).await?;
        tx.commit().await
    }

    /// Runs two transactions of which the second one goes through between the reads of the first one and its commit,
    /// unless the store makes one of them wait or conflict. Both are through in the end, in some order.
    pub(crate) async fn overlap(&self, first: Work, second: Work) {
        let mut tx = self.begin(Access::Write).await;
        let read = first(&mut tx).await;
        self.overlap_after(tx, read, first, second).await;
    }

    /// The same where the first one has read already, with the outcome `read`. After a conflict it runs as `first`.
    pub(crate) async fn overlap_after(&self, tx: Tx, read: Result<()>, first: Work, second: Work) {
        let place = self.clone();
        let other = tokio::spawn(async move { place.run(second).await });
        wait_for(&other).await;
        let done = match read {
            Ok(()) => tx.commit().await,
            Err(error) => {
                drop(tx);
                Err(error)
            }
        };
        other.await.expect("the other transaction");
        match done {
            Err(error) if is_conflict(&error) => self.run(first).await,
            done => done.expect("commit"),
        }
    }

    /// Writes without reading.
    pub(crate) async fn write(&self, writes: &[(&str, Option<&str>)]) {
        for _ in 0..TRIES {
            let mut tx = self.begin(Access::Write).await;
            for (rest, value) in writes {
                match value {
                    Some(value) => tx.put(rest, value.to_string()),
                    None => tx.remove(rest),
                }
            }
            match tx.commit().await {
                Err(error) if is_conflict(&error) => pause().await,
                done => return done.expect("commit"),
            }
        }
        panic!("{TRIES} tries of a transaction without reads conflicted");
    }

    pub(crate) async fn put(&self, rest: &str, value: &str) {
        self.write(&[(rest, Some(value))]).await;
    }

    /// Reads in a new transaction, all keys of one state.
    pub(crate) async fn read(&self, keys: &[Bytes]) -> Vec<Option<Bytes>> {
        for _ in 0..TRIES {
            let mut tx = self.begin(Access::Read).await;
            match tx.transaction.get(keys).await {
                Err(error) if is_conflict(&error) => pause().await,
                read => {
                    let read = read.expect("get");
                    assert_eq!(read.len(), keys.len(), "one element a key");
                    return read;
                }
            }
        }
        panic!("{TRIES} tries of a transaction that reads conflicted");
    }

    pub(crate) async fn text(&self, rest: &str) -> Option<String> {
        let value = self.read(&[self.key(rest)]).await.remove(0)?;
        Some(std::str::from_utf8(&value).expect("the case has written a text").to_owned())
    }

    pub(crate) async fn numbers<const N: usize>(&self, keys: [&str; N]) -> [u64; N] {
        let keys: Vec<Bytes> = keys.iter().map(|rest| self.key(rest)).collect();
        let read = self.read(&keys).await;
        std::array::from_fn(|at| number_in(read[at].as_ref()))
    }

    /// The pairs of a range in a new transaction.
    pub(crate) async fn pairs(
        &self,
        from: impl AsRef<[u8]>,
        to: impl AsRef<[u8]>,
        limit: usize,
    ) -> Vec<(Bytes, Bytes)> {
        let (from, to) = (self.key(from), self.key(to));
        for _ in 0..TRIES {
            let mut tx = self.begin(Access::Read).await;
            match tx.transaction.scan(&from, &to, limit).await {
                Err(error) if is_conflict(&error) => pause().await,
                read => {
                    let read = read.expect("scan");
                    let rest = |(key, value): (Bytes, Bytes)| (key.slice(self.start.len()..), value);
                    return read.into_iter().map(rest).collect();
                }
            }
        }
        panic!("{TRIES} tries of a transaction that reads conflicted");
    }

    /// The keys of a range, as texts.
    pub(crate) async fn names(&self, from: &str, to: &str, limit: usize) -> Vec<String> {
        let name = |(key, _): (Bytes, Bytes)| String::from_utf8_lossy(&key).into_owned();
        self.pairs(from, to, limit).await.into_iter().map(name).collect()
    }
}

/// Gives a task the time to go through, which it does at once unless a store makes it wait.
async fn wait_for<T>(task: &tokio::task::JoinHandle<T>) {
    let end = tokio::time::Instant::now() + OVERLAP;
    while !task.is_finished() && tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

impl Tx {
    pub(crate) async fn get(&mut self, rest: &str) -> Result<Option<Bytes>> {
        let mut read = self.transaction.get(&[self.place.key(rest)]).await?;
        assert_eq!(read.len(), 1, "one element a key");
        Ok(read.remove(0))
    }

    /// The number in a key; zero where there is none.
    pub(crate) async fn number(&mut self, rest: &str) -> Result<u64> {
        Ok(number_in(self.get(rest).await?.as_ref()))
    }

    /// The keys of a range, and the sum of its numbers.
    pub(crate) async fn scan(&mut self, from: &str, to: &str, limit: usize) -> Result<(Vec<String>, u64)> {
        let pairs = self.transaction.scan(&self.place.key(from), &self.place.key(to), limit).await?;
        assert!(pairs.len() <= limit, "{} pairs instead of at most {limit}", pairs.len());
        let sum = pairs.iter().map(|(_, value)| number_in(Some(value))).sum();
        let name = |key: &Bytes| String::from_utf8_lossy(&key[self.place.start.len()..]).into_owned();
        Ok((pairs.iter().map(|(key, _)| name(key)).collect(), sum))
    }

    pub(crate) fn put(&mut self, rest: impl AsRef<[u8]>, value: impl Into<Bytes>) {
        self.writes.insert(self.place.key(rest), Some(value.into()));
    }

    pub(crate) fn set(&mut self, rest: &str, number: u64) {
        self.put(rest, bytes_of(number));
    }

    pub(crate) fn remove(&mut self, rest: impl AsRef<[u8]>) {
        self.writes.insert(self.place.key(rest), None);
    }

    pub(crate) async fn commit(self) -> Result<()> {
        let writes = self.writes.into_iter().map(|(key, value)| Write { key, value }).collect();
        self.transaction.commit(writes).await
    }
}

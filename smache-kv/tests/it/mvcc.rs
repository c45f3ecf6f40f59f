//! An optimistic store with versions, whose conflict check has each key and each range; and ways to break it.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use smache_core::{Clock, Error, ErrorKind, Incarnation, ManualClock, Result};
use smache_kv::{Access, KeyValue, Started, Transaction, Write, conflict};

/// A promise that the store breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Ranges are no part of the conflict check.
    RangesUnchecked,
    /// Of a range only the keys that were found are checked.
    NewKeysUnchecked,
    /// A range is checked up to the last key that was found, whether the limit ended it or not.
    EndsUnchecked,
    /// A key that left a range is no conflict.
    RemovalsUnchecked,
    /// A key that was read as absent is not checked.
    AbsentUnchecked,
    /// Only writes to the same keys conflict.
    ReadsUnchecked,
    /// Each read is of the present state.
    ReadsOfThePresent,
    /// A range ends behind its second bound.
    EndIncluded,
    /// A range begins behind its first bound.
    StartExcluded,
    /// A scan answers at most a hundred pairs.
    ShortScans,
    /// A scan answers in the order of signed bytes.
    SignedOrder,
    /// A key that is asked for twice is answered once.
    DuplicatesAnsweredOnce,
    /// Keys are cut off after 255 bytes.
    KeysCutOff,
    /// An empty value counts as none.
    EmptyIsAbsent,
    /// Values are cut off after 64 KiB.
    ValuesCutOff,
    /// Removals are not written.
    RemovalsIgnored,
    /// A batch is written in two halves.
    HalfBatches,
    /// A commit returns before its writes are there.
    CommitsLate,
    /// A transaction commits in a later incarnation.
    CommitsInAnotherLife,
    /// The incarnation stays whatever happens.
    OneLife,
    /// The clock of readers is ahead.
    ReadersAhead,
    /// The time is taken after the state.
    TimeAfterState,
    /// The first keys are read apart, so the conflict check has none of them.
    FirstKeysApart,
    /// The first keys are of an earlier state than the transaction.
    FirstKeysEarlier,
    /// The first keys are answered in their own order.
    FirstKeysSorted,
    /// Batches of more than 20,000 writes are refused, and the limits do not say so.
    LargeBatchesRefused,
}

/// The store. Clones show the same data.
#[derive(Debug, Clone)]
pub(crate) struct Mvcc(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: ManualClock,
    broken: Option<Broken>,
    state: Mutex<State>,
}

/// Every version of every key, the newest last; `None` is a removal.
#[derive(Debug, Default)]
struct State {
    life: u64,
    version: u64,
    keys: BTreeMap<Bytes, Vec<(u64, Option<Bytes>)>>,
}

struct MvccTransaction {
    store: Mvcc,
    life: u64,
    version: u64,
    /// The keys that were read, and whether they were there.
    read: Vec<(Bytes, bool)>,
    /// The scanned ranges: from the first bound to before the second one.
    scanned: Vec<(Bytes, Bytes)>,
}

impl State {
    fn at(&self, key: &Bytes, version: u64) -> Option<&Bytes> {
        let versions = self.keys.get(key)?;
        versions.iter().rev().find(|(of, _)| *of <= version)?.1.as_ref()
    }

    fn changed(versions: &[(u64, Option<Bytes>)], since: u64) -> bool {
        versions.last().is_some_and(|(of, _)| *of > since)
    }

    fn apply(&mut self, writes: Vec<Write>) {
        self.version += 1;
        for Write { key, value } in writes {
            self.keys.entry(key).or_default().push((self.version, value));
        }
    }
}

/// The smallest key behind another one.
fn behind(key: &Bytes) -> Bytes {
    [&key[..], &[0]].concat().into()
}

impl Mvcc {
    pub(crate) fn new(clock: ManualClock) -> Self {
        Self::of(clock, None)
    }

    pub(crate) fn broken(clock: ManualClock, broken: Broken) -> Self {
        Self::of(clock, Some(broken))
    }

    fn of(clock: ManualClock, broken: Option<Broken>) -> Self {
        Self(Arc::new(Inner { clock, broken, state: Mutex::default() }))
    }

    /// Has another incarnation from now on, with all its data.
    pub(crate) fn become_another(&self) {
        self.state().life += 1;
    }

    fn is(&self, broken: Broken) -> bool {
        self.0.broken == Some(broken)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no test panics under it")
    }

    /// A key as the store keeps it.
    fn kept(&self, key: &Bytes) -> Bytes {
        if self.is(Broken::KeysCutOff) { key.slice(..key.len().min(255)) } else { key.clone() }
    }
}

#[async_trait]
impl KeyValue for Mvcc {
    async fn begin(&self, access: Access) -> Result<Started> {
        let mut now = self.0.clock.now();
        let (life, version) = {
            let state = self.state();
            (state.life, state.version)
        };
        if self.is(Broken::TimeAfterState) {
            tokio::time::sleep(Duration::from_millis(3)).await;
            now = self.0.clock.now();
        }
        if self.is(Broken::ReadersAhead) && access == Access::Read {
            now = now.after(Duration::from_secs(1));
        }
        let named = if self.is(Broken::OneLife) { 0 } else { life };
        let transaction = MvccTransaction { store: self.clone(), life, version, read: Vec::new(), scanned: Vec::new() };
        let incarnation = Incarnation::new(format!("life {named}"));
        Ok(Started { now, incarnation, transaction: Box::new(transaction) })
    }

    async fn begin_and_get(&self, access: Access, keys: &[Bytes]) -> Result<(Started, Vec<Option<Bytes>>)> {
        let mut asked = keys.to_vec();
        if self.is(Broken::FirstKeysSorted) {
            asked.sort();
        }
        let mut started = self.begin(access).await?;
        let values = started.transaction.get(&asked).await?;
        if self.is(Broken::FirstKeysApart) {
            started = self.begin(access).await?;
        } else if self.is(Broken::FirstKeysEarlier) {
            // Until another transaction has committed, if there is one.
            let before = self.state().version;
            for _ in 0..20 {
                if self.state().version == before {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            started = self.begin(access).await?;
            started.transaction.get(&asked).await?;
        }
        Ok((started, values))
    }
}

impl MvccTransaction {
    /// The version that it reads.
    fn version(&self, state: &State) -> u64 {
        if self.store.is(Broken::ReadsOfThePresent) { state.version } else { self.version }
    }

    /// Whether nothing that it has read has changed.
    fn is_valid(&self, state: &State, writes: &[Write]) -> bool {
        if self.store.is(Broken::ReadsUnchecked) {
            let written = |write: &Write| state.keys.get(&write.key);
            return !writes.iter().filter_map(written).any(|versions| State::changed(versions, self.version));
        }
        let key_changed = |(key, there): &(Bytes, bool)| {
            let skipped = !there && self.store.is(Broken::AbsentUnchecked);
            !skipped && state.keys.get(key).is_some_and(|versions| State::changed(versions, self.version))
        };
        let range_changed = |(from, to): &(Bytes, Bytes)| {
            state.keys.range(from.clone()..to.clone()).any(|(key, versions)| {
                let was_there = state.at(key, self.version).is_some();
                let is_gone = versions.last().is_some_and(|(_, value)| value.is_none());
                let skipped = (!was_there && self.store.is(Broken::NewKeysUnchecked))
                    || (is_gone && self.store.is(Broken::RemovalsUnchecked));
                !skipped && State::changed(versions, self.version)
            })
        };
        !self.read.iter().any(key_changed)
            && (self.store.is(Broken::RangesUnchecked) || !self.scanned.iter().any(range_changed))
    }
}

#[async_trait]
impl Transaction for MvccTransaction {
    async fn get(&mut self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>> {
        let store = self.store.clone();
        let state = store.state();
        let version = self.version(&state);
        let mut values = Vec::new();
        let mut answered: Vec<&Bytes> = Vec::new();
        for key in keys {
            if store.is(Broken::DuplicatesAnsweredOnce) && answered.contains(&key) {
                continue;
            }
            answered.push(key);
            let kept = store.kept(key);
            let mut value = state.at(&kept, version).cloned();
            self.read.push((kept, value.is_some()));
            if store.is(Broken::EmptyIsAbsent) {
                value = value.filter(|value| !value.is_empty());
            }
            values.push(value);
        }
        Ok(values)
    }

    async fn scan(&mut self, from: &Bytes, to: &Bytes, limit: usize) -> Result<Vec<(Bytes, Bytes)>> {
        let store = self.store.clone();
        let limit = if store.is(Broken::ShortScans) { limit.min(100) } else { limit };
        let state = store.state();
        let version = self.version(&state);
        let start = if store.is(Broken::StartExcluded) { Bound::Excluded(from) } else { Bound::Included(from) };
        let end = if store.is(Broken::EndIncluded) { Bound::Included(to) } else { Bound::Excluded(to) };
        let present = |(key, _): (&Bytes, _)| Some((key.clone(), state.at(key, version)?.clone()));
        let mut found: Vec<(Bytes, Bytes)> =
            state.keys.range::<Bytes, _>((start, end)).filter_map(present).take(limit).collect();
        let read_to = match found.last() {
            Some((last, _)) if found.len() == limit || store.is(Broken::EndsUnchecked) => behind(last),
            _ => to.clone(),
        };
        self.scanned.push((from.clone(), read_to));
        if store.is(Broken::SignedOrder) {
            found.sort_by_key(|(key, _)| key.iter().map(|byte| byte.cast_signed()).collect::<Vec<_>>());
        }
        Ok(found)
    }

    async fn commit(self: Box<Self>, mut writes: Vec<Write>) -> Result<()> {
        let store = self.store.clone();
        for write in &mut writes {
            write.key = store.kept(&write.key);
            if store.is(Broken::ValuesCutOff) {
                write.value = write.value.take().map(|value| value.slice(..value.len().min(1 << 16)));
            }
        }
        if store.is(Broken::LargeBatchesRefused) && writes.len() > 20_000 {
            return Err(Error::new(ErrorKind::TooLarge, "a batch of more than 20,000 writes"));
        }
        if store.is(Broken::RemovalsIgnored) {
            writes.retain(|write| write.value.is_some());
        }
        let rest = {
            let mut state = store.state();
            if state.life != self.life && !store.is(Broken::CommitsInAnotherLife) {
                return Err(conflict());
            }
            if !self.is_valid(&state, &writes) {
                return Err(conflict());
            }
            let now = match store.0.broken {
                Some(Broken::HalfBatches) => writes.len() / 2,
                Some(Broken::CommitsLate) => 0,
                _ => writes.len(),
            };
            let rest = writes.split_off(now);
            state.apply(writes);
            rest
        };
        if store.is(Broken::HalfBatches) {
            tokio::time::sleep(Duration::from_micros(200)).await;
            store.state().apply(rest);
        } else if store.is(Broken::CommitsLate) {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                store.state().apply(rest);
            });
        }
        Ok(())
    }
}

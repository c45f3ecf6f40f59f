//! A map in memory as a key-value store: with locks, with deliberate conflicts, and without locks.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use smache_core::{Clock, Incarnation, ManualClock, Result};
use smache_kv::{Access, KeyValue, Limits, Started, Transaction, Write, conflict};
use tokio::sync::OwnedMutexGuard;

/// When a transaction conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conflicts {
    /// Never: writers wait for each other.
    Never,
    /// The same, but every third commit fails without having written anything.
    EveryThird,
    /// At every commit.
    Always,
    /// At the commit of a transaction with more writes, as where short ones never pause.
    Above(usize),
    /// Whenever another one has committed since it began, as in a store without locks.
    Real,
}

/// The store. Clones show the same data.
#[derive(Clone)]
pub(crate) struct Tree(Arc<Inner>);

struct Inner {
    clock: ManualClock,
    conflicts: Conflicts,
    state: Mutex<State>,
    writer: Arc<tokio::sync::Mutex<()>>,
    commits: AtomicU64,
    begins: AtomicU64,
    reads: AtomicU64,
    scanned: AtomicU64,
    fails_after: Mutex<Option<u64>>,
    pace: Mutex<Duration>,
    /// How long a round trip takes.
    latency: Mutex<Duration>,
    limits: Mutex<Limits>,
}

#[derive(Default)]
struct State {
    life: u64,
    version: u64,
    map: BTreeMap<Bytes, Bytes>,
}

struct TreeTransaction {
    tree: Tree,
    life: u64,
    version: u64,
    _writer: Option<OwnedMutexGuard<()>>,
}

impl Tree {
    pub(crate) fn new(clock: ManualClock, conflicts: Conflicts) -> Self {
        Self(Arc::new(Inner {
            clock,
            conflicts,
            state: Mutex::default(),
            writer: Arc::default(),
            commits: AtomicU64::new(0),
            begins: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            scanned: AtomicU64::new(0),
            fails_after: Mutex::new(None),
            pace: Mutex::default(),
            latency: Mutex::default(),
            limits: Mutex::default(),
        }))
    }

    /// Has another incarnation from now on, with all its data.
    pub(crate) fn become_another(&self) {
        self.state().life += 1;
    }

    /// How many transactions began, and how often they read keys.
    pub(crate) fn used(&self) -> (u64, u64) {
        (self.0.begins.load(Ordering::SeqCst), self.0.reads.load(Ordering::SeqCst))
    }

    pub(crate) fn value(&self, key: &[u8]) -> Option<Bytes> {
        self.state().map.get(key).cloned()
    }

    /// Writes as another program.
    pub(crate) fn set(&self, key: &[u8], value: &[u8]) {
        self.state().map.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    }

    /// Changes the pairs as another program.
    pub(crate) fn change(&self, change: impl FnOnce(&mut BTreeMap<Bytes, Bytes>)) {
        change(&mut self.state().map);
    }

    /// How many pairs there are.
    pub(crate) fn len(&self) -> usize {
        self.state().map.len()
    }

    /// Replaces every value whose key has that role after the namespace by unreadable bytes. Returns how many.
    pub(crate) fn spoil(&self, role: u8) -> usize {
        self.spoil_of(role, b"")
    }

    /// The same for the keys with that end.
    pub(crate) fn spoil_of(&self, role: u8, end: &[u8]) -> usize {
        let is_of = |key: &Bytes| key.get(usize::from(key[0]) + 2) == Some(&role) && key.ends_with(end);
        let mut state = self.state();
        let spoilt = state.map.iter_mut().filter(|(key, _)| is_of(key));
        spoilt.map(|(_, value)| *value = Bytes::from_static(b"\xffspoilt")).count()
    }

    /// How many keys have that role after the namespace, and go on like that.
    pub(crate) fn keys_of(&self, role: u8, next: &[u8]) -> u64 {
        let is_of = |key: &&Bytes| {
            let rest = key.get(usize::from(key[0]) + 2..).and_then(|rest| rest.split_first());
            rest.is_some_and(|(first, rest)| *first == role && rest.starts_with(next))
        };
        self.state().map.keys().filter(is_of).count() as u64
    }

    /// How many pairs were answered to scans.
    pub(crate) fn scanned(&self) -> u64 {
        self.0.scanned.load(Ordering::SeqCst)
    }

    /// Every round trip takes that long from now on, so that transactions meet.
    pub(crate) fn be_remote(&self, latency: Duration) {
        *self.0.latency.lock().expect("no test panics under it") = latency;
    }

    /// Has those limits from now on, and panics where a batch is above them.
    pub(crate) fn limit(&self, limits: Limits) {
        *self.0.limits.lock().expect("no test panics under it") = limits;
    }

    async fn round_trip(&self) {
        let latency = *self.0.latency.lock().expect("no test panics under it");
        if latency > Duration::ZERO {
            tokio::time::sleep(latency).await;
        }
    }

    /// Every commit takes that long from now on.
    pub(crate) fn take(&self, pace: Duration) {
        *self.0.pace.lock().expect("no test panics under it") = pace;
    }

    /// That many commits succeed, and later ones find the store unavailable; `None` ends that.
    pub(crate) fn fail_after(&self, commits: Option<u64>) {
        *self.0.fails_after.lock().expect("no test panics under it") = commits;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no test panics under it")
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").field("conflicts", &self.0.conflicts).finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyValue for Tree {
    async fn begin(&self, _: Access) -> Result<Started> {
        self.0.begins.fetch_add(1, Ordering::SeqCst);
        self.round_trip().await;
        let writer = match self.0.conflicts {
            Conflicts::Real => None,
            _ => Some(Arc::clone(&self.0.writer).lock_owned().await),
        };
        let state = self.state();
        let incarnation = Incarnation::new(format!("life {}", state.life));
        let transaction =
            TreeTransaction { tree: self.clone(), life: state.life, version: state.version, _writer: writer };
        Ok(Started { now: self.0.clock.now(), incarnation, transaction: Box::new(transaction) })
    }

    async fn begin_and_get(&self, access: Access, keys: &[Bytes]) -> Result<(Started, Vec<Option<Bytes>>)> {
        let started = self.begin(access).await?;
        let state = self.state();
        Ok((started, keys.iter().map(|key| state.map.get(key).cloned()).collect()))
    }

    fn limits(&self) -> Limits {
        *self.0.limits.lock().expect("no test panics under it")
    }
}

impl TreeTransaction {
    /// The state, if it still is the incarnation that the transaction began in.
    fn unchanged(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.tree.state();
        if state.version == self.version && state.life == self.life { Ok(state) } else { Err(conflict()) }
    }
}

#[async_trait]
impl Transaction for TreeTransaction {
    async fn get(&mut self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>> {
        self.tree.0.reads.fetch_add(1, Ordering::SeqCst);
        self.tree.round_trip().await;
        let state = self.unchanged()?;
        Ok(keys.iter().map(|key| state.map.get(key).cloned()).collect())
    }

    async fn scan(&mut self, from: &Bytes, to: &Bytes, limit: usize) -> Result<Vec<(Bytes, Bytes)>> {
        self.tree.round_trip().await;
        let state = self.unchanged()?;
        let range = state.map.range(from.clone()..to.clone());
        let found: Vec<_> = range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect();
        self.tree.0.scanned.fetch_add(found.len() as u64, Ordering::SeqCst);
        Ok(found)
    }

    async fn commit(self: Box<Self>, writes: Vec<Write>) -> Result<()> {
        self.tree.round_trip().await;
        let limits = self.tree.limits();
        let size = |write: &Write| write.value.as_ref().map_or(0, Bytes::len);
        let bytes: usize = writes.iter().map(|write| write.key.len() + size(write)).sum();
        assert!(writes.len() <= limits.batch_writes && bytes <= limits.batch_bytes, "{} of {bytes}", writes.len());
        assert!(writes.iter().all(|write| size(write) <= limits.value_bytes), "a value is too large");
        let commit = self.tree.0.commits.fetch_add(1, Ordering::SeqCst);
        match self.tree.0.conflicts {
            Conflicts::EveryThird if commit % 3 == 2 => return Err(conflict()),
            Conflicts::Always => return Err(conflict()),
            Conflicts::Above(most) if writes.len() > most => return Err(conflict()),
            _ => {}
        }
        assert!(writes.is_sorted_by(|a, b| a.key < b.key), "each key once, in ascending order");
        if let Some(left) = &mut *self.tree.0.fails_after.lock().expect("no test panics under it") {
            *left = left.checked_sub(1).ok_or_else(|| {
                smache_core::Error::new(smache_core::ErrorKind::Unavailable, "the store is gone for a while")
            })?;
        }
        let mut state = self.unchanged()?;
        state.version += 1;
        for Write { key, value } in writes {
            match value {
                Some(value) => state.map.insert(key, value),
                None => state.map.remove(&key),
            };
        }
        self.tree.0.clock.advance(*self.tree.0.pace.lock().expect("no test panics under it"));
        Ok(())
    }
}

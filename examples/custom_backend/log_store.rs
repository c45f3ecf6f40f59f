//! A key-value store: a map in memory, and a log of every batch in a file.
//!
//! A batch is in the file before it is in the map. Its checksum tells whether it is whole; half a batch counts as none.
//! The store rewrites the file when most of it is out of date. One process has it open; others are refused, and so is a
//! file with other content.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    io::{self, ErrorKind::InvalidData, ErrorKind::WouldBlock, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use smache::backend::{Clock, Error, ErrorKind, Examination, Finding, Incarnation, Result, Severity, Token};
use smache::kv::{Access, KeyValue, Started, Transaction, Write};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// How every file begins, so that no other file passes for a log that a crash has cut off.
const MAGIC: &[u8; 8] = b"smachlog";

/// The key of the store's own incarnation. No namespace begins with a zero.
const INCARNATION: &[u8] = b"\0incarnation";

/// A log below that size is not worth a rewrite.
const SMALL: u64 = 1 << 20;

/// Whether a batch survives the machine or only the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It is on the disk before it is acknowledged: after a crash the store has the same incarnation.
    Disk,
    /// The operating system writes it at some later time, which is faster. It is not known which batches a crash took,
    /// so the store has another incarnation whenever it is opened.
    System,
}

/// The store.
pub(crate) struct LogStore {
    log: Arc<Mutex<Log>>,
    clock: Arc<dyn Clock>,
}

impl LogStore {
    /// Opens a file, or creates it. The clock is the system's, except in tests.
    pub(crate) fn open(path: impl AsRef<Path>, durability: Durability, clock: impl Clock) -> Result<Self> {
        let log = Log::open(path.as_ref(), durability).map_err(|error| failed(path.as_ref(), error))?;
        Ok(Self { log: Arc::new(Mutex::new(log)), clock: Arc::new(clock) })
    }
}

impl fmt::Debug for LogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStore").field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// The contract in one line: the transaction that holds the lock is alone, so that no transactions conflict.
struct LogTransaction(OwnedMutexGuard<Log>);

#[async_trait]
impl KeyValue for LogStore {
    async fn begin(&self, _: Access) -> Result<Started> {
        let log = Arc::clone(&self.log).lock_owned().await;
        // Under the lock: the order of transactions is the order of their times.
        let now = self.clock.now();
        let incarnation = log.incarnation.clone();
        Ok(Started { now, incarnation, transaction: Box::new(LogTransaction(log)) })
    }

    async fn examine(&self) -> Result<Examination> {
        let log = self.log.lock().await;
        let examination = Examination::new(format!("the log file `{}`", log.path.display()));
        Ok(examination.finding(log.durability == Durability::System, || {
            let problem = "every result is checked again when it is opened, since a crash may have taken some";
            Finding::new(Severity::Advice, problem, "open it with `Durability::Disk`")
        }))
    }
}

#[async_trait]
impl Transaction for LogTransaction {
    async fn get(&mut self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>> {
        Ok(keys.iter().map(|key| self.0.map.get(key).cloned()).collect())
    }

    async fn scan(&mut self, from: &Bytes, to: &Bytes, limit: usize) -> Result<Vec<(Bytes, Bytes)>> {
        let range = self.0.map.range(from.clone()..to.clone());
        Ok(range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    async fn commit(mut self: Box<Self>, writes: Vec<Write>) -> Result<()> {
        // On a separate thread, which holds the lock: it goes on to its end when this future is dropped.
        let append = move || self.0.commit(writes).map_err(|error| failed(&self.0.path, error));
        let stopped = |error| Error::new(ErrorKind::Unavailable, "the runtime stops").with_source(error);
        tokio::task::spawn_blocking(append).await.map_err(stopped)?
    }
}

struct Log {
    path: PathBuf,
    /// A file beside it, locked as long as this one is open.
    _lock: File,
    file: File,
    durability: Durability,
    incarnation: Incarnation,
    map: BTreeMap<Bytes, Bytes>,
    /// How much of the file is good, and how much of that is up to date.
    length: u64,
    live: u64,
    /// A write failed half-way, and the half could not be taken back.
    broken: bool,
}

impl Log {
    fn open(path: &Path, durability: Durability) -> io::Result<Self> {
        let _lock = File::options().create(true).append(true).open(path.with_added_extension("lock"))?;
        _lock.try_lock()?;
        let bytes = if path.exists() { fs::read(path)? } else { Vec::new() };
        let (magic, mut rest) = bytes.split_at(bytes.len().min(MAGIC.len()));
        // A part of the mark comes from a process that died at once.
        if !MAGIC.starts_with(magic) {
            return Err(InvalidData.into());
        }
        let mut file = File::options().create(true).append(true).open(path)?;
        file.write_all(&MAGIC[magic.len()..])?;
        let path = path.to_owned();
        let map = BTreeMap::new();
        let incarnation = Incarnation::new("");
        let mut log = Self { path, _lock, file, durability, incarnation, map, length: 0, live: 0, broken: false };
        while let Some((batch, after)) = next_batch(rest) {
            log.apply(batch);
            rest = after;
        }
        log.length = (MAGIC.len() + bytes.len() - magic.len() - rest.len()) as u64;
        log.file.set_len(log.length)?;
        // The lost end may have been acknowledged, if it was the disk that failed.
        let known = log.map.get(INCARNATION).filter(|_| rest.is_empty() && durability == Durability::Disk);
        let known = known.and_then(|name| std::str::from_utf8(name).ok()).map(str::to_owned);
        log.incarnation = Incarnation::new(known.clone().unwrap_or_else(|| format!("log-{}", Token::random())));
        if known.is_none() {
            let name = Bytes::copy_from_slice(log.incarnation.as_str().as_bytes());
            log.commit(vec![Write { key: Bytes::from_static(INCARNATION), value: Some(name) }])?;
        }
        Ok(log)
    }

    fn commit(&mut self, writes: Vec<Write>) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("an earlier write failed half-way: open the store again"));
        }
        let batch = encode(&writes);
        let synced = |()| if self.durability == Durability::Disk { self.file.sync_data() } else { Ok(()) };
        if let Err(error) = (&self.file).write_all(&batch).and_then(synced) {
            // Otherwise the next batch would stand behind half a batch, and be lost with it.
            self.broken = self.file.set_len(self.length).is_err() || self.file.seek(SeekFrom::End(0)).is_err();
            return Err(error);
        }
        self.length += batch.len() as u64;
        self.apply(writes);
        if self.length > SMALL.max(4 * self.live) {
            // The batch is kept even if this fails; the next batch tries again.
            let _ = self.rewrite();
        }
        Ok(())
    }

    fn apply(&mut self, writes: Vec<Write>) {
        let size = |key: &Bytes, value: &Bytes| (key.len() + value.len()) as u64;
        for Write { key, value } in writes {
            let added = value.as_ref().map_or(0, |value| size(&key, value));
            let old = match value {
                Some(value) => self.map.insert(key.clone(), value),
                None => self.map.remove(&key),
            };
            self.live = self.live + added - old.map_or(0, |old| size(&key, &old));
        }
    }

    /// Writes the up-to-date keys to another file, and puts that in the place of this one.
    fn rewrite(&mut self) -> io::Result<()> {
        let all = self.map.iter().map(|(key, value)| Write { key: key.clone(), value: Some(value.clone()) });
        let bytes = [MAGIC, &encode(&all.collect::<Vec<_>>())[..]].concat();
        let new = self.path.with_added_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        (self.file, self.length) = (file, bytes.len() as u64);
        // Until the folder is on the disk, a crash may bring the old file back.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let kept = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
        self.broken = kept.is_err();
        kept
    }
}

/// The length of a batch, its checksum, and its writes: the lengths of key and value, and both. The greatest length
/// stands for no value.
fn encode(writes: &[Write]) -> Vec<u8> {
    let mut batch = vec![0; 16];
    for Write { key, value } in writes {
        let length = value.as_ref().map_or(u32::MAX, |value| value.len() as u32);
        let lengths = [key.len() as u32, length].map(u32::to_le_bytes).concat();
        batch.extend([&lengths[..], key, value.as_deref().unwrap_or_default()].concat());
    }
    let length = (batch.len() - 16) as u64;
    let head = [length, checksum(&batch[16..])].map(u64::to_le_bytes).concat();
    batch[..16].copy_from_slice(&head);
    batch
}

/// The first batch and the rest after it; `None` at the end and where the file is damaged.
fn next_batch(bytes: &[u8]) -> Option<(Vec<Write>, &[u8])> {
    let (length, bytes) = bytes.split_first_chunk()?;
    let (sum, bytes) = bytes.split_first_chunk()?;
    let (mut batch, rest) = bytes.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    if checksum(batch) != u64::from_le_bytes(*sum) {
        return None;
    }
    let mut writes = Vec::new();
    while !batch.is_empty() {
        let (key, after) = batch.split_first_chunk()?;
        let (value, after) = after.split_first_chunk()?;
        let (key, after) = after.split_at_checked(u32::from_le_bytes(*key) as usize)?;
        let length = Some(u32::from_le_bytes(*value)).filter(|length| *length != u32::MAX);
        let (value, after) = after.split_at_checked(length.unwrap_or_default() as usize)?;
        writes.push(Write { key: Bytes::copy_from_slice(key), value: length.map(|_| Bytes::copy_from_slice(value)) });
        batch = after;
    }
    Some((writes, rest))
}

/// FNV-1a: enough to find a write that ended half-way.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn failed(path: &Path, error: io::Error) -> Error {
    let (kind, fix) = match error.kind() {
        WouldBlock => (ErrorKind::Unavailable, "is open already: stop the other process, or use another path"),
        InvalidData => (ErrorKind::WrongServer, "is not a log of this store, and stays unchanged: use another path"),
        _ => (ErrorKind::Unavailable, "cannot be read or written: look at its rights and the disk"),
    };
    Error::new(kind, format!("the log file `{}` {fix}", path.display())).with_source(error)
}

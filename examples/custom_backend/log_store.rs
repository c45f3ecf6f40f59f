//! A key-value store of one's own: a map in memory, and a log of every batch in a file.
//!
//! A batch is in the file before it is in the map, and it is whole or not there: its checksum says so. The file is written
//! anew when most of it is of the past. One process has it open; others wait for it.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    io::{self, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use smache_core::{Clock, Error, ErrorKind, Incarnation, Result, Token};
use smache_kv::{Access, KeyValue, Started, Transaction, Write};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Where the store keeps its own incarnation. No namespace begins with a zero.
const INCARNATION: &[u8] = b"\0incarnation";

/// A log below that size is not worth writing anew.
const SMALL: u64 = 1 << 20;

/// Whether a batch survives the machine or only the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It is on the disk before it is acknowledged: the store is the same one after a crash.
    Disk,
    /// The system writes it when it likes, which is faster. Nobody knows what a crash took, so that the store is another
    /// incarnation whenever it is opened.
    System,
}

/// The store.
pub(crate) struct LogStore {
    log: Arc<RwLock<Log>>,
    clock: Arc<dyn Clock>,
}

impl LogStore {
    /// Opens a file, or creates it. The clock is the system's, but for tests.
    pub(crate) fn open(path: impl AsRef<Path>, durability: Durability, clock: impl Clock) -> Result<Self> {
        let log = Log::open(path.as_ref(), durability).map_err(unavailable)?;
        Ok(Self { log: Arc::new(RwLock::new(log)), clock: Arc::new(clock) })
    }
}

impl fmt::Debug for LogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStore").field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// The contract in one line: who writes is alone, who reads keeps writers out. So nothing ever conflicts.
enum LogTransaction {
    Reads(OwnedRwLockReadGuard<Log>),
    Writes(OwnedRwLockWriteGuard<Log>),
}

impl LogTransaction {
    fn log(&self) -> &Log {
        match self {
            Self::Reads(log) => log,
            Self::Writes(log) => log,
        }
    }
}

#[async_trait]
impl KeyValue for LogStore {
    async fn begin(&self, access: Access) -> Result<Started> {
        let log = Arc::clone(&self.log);
        let transaction = match access {
            Access::Read => LogTransaction::Reads(log.read_owned().await),
            Access::Write => LogTransaction::Writes(log.write_owned().await),
        };
        let incarnation = transaction.log().incarnation.clone();
        // Under the lock: the order of transactions is the order of their times.
        Ok(Started { now: self.clock.now(), incarnation, transaction: Box::new(transaction) })
    }
}

#[async_trait]
impl Transaction for LogTransaction {
    async fn get(&mut self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>> {
        Ok(keys.iter().map(|key| self.log().map.get(key).cloned()).collect())
    }

    async fn scan(&mut self, from: &Bytes, to: &Bytes, limit: usize) -> Result<Vec<(Bytes, Bytes)>> {
        let range = self.log().map.range(from.clone()..to.clone());
        Ok(range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    async fn commit(self: Box<Self>, writes: Vec<Write>) -> Result<()> {
        let Self::Writes(mut log) = *self else {
            return Err(Error::new(ErrorKind::Internal, "a transaction that only reads was committed"));
        };
        // On a thread of its own, which has the lock: it goes on to its end when this future is dropped.
        let append = tokio::task::spawn_blocking(move || log.commit(writes));
        let stopped = |error| Error::new(ErrorKind::Unavailable, "the runtime stops").with_source(error);
        append.await.map_err(stopped)?.map_err(unavailable)
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
    /// How much of the file is good, and how much of that is of the present.
    length: u64,
    live: u64,
    /// A write failed half-way, and its rest could not be taken back.
    broken: bool,
}

impl Log {
    fn open(path: &Path, durability: Durability) -> io::Result<Self> {
        let _lock = File::create(path.with_extension("lock"))?;
        _lock.lock()?;
        let bytes = if path.exists() { fs::read(path)? } else { Vec::new() };
        let file = File::options().create(true).append(true).open(path)?;
        let (path, map, incarnation) = (path.to_owned(), BTreeMap::new(), Incarnation::new(""));
        let mut log = Self { path, _lock, file, durability, incarnation, map, length: 0, live: 0, broken: false };
        let mut rest = bytes.as_slice();
        while let Some((batch, after)) = next_batch(rest) {
            log.apply(batch);
            rest = after;
        }
        log.length = (bytes.len() - rest.len()) as u64;
        log.file.set_len(log.length)?;
        // What was cut off may have been acknowledged, if it was the disk that failed.
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
        if let Err(error) = self.append(&batch) {
            // Else the next batch would stand behind half a batch, and be lost with it.
            self.broken = self.file.set_len(self.length).is_err() || self.file.seek(SeekFrom::End(0)).is_err();
            return Err(error);
        }
        self.length += batch.len() as u64;
        self.apply(writes);
        if self.length > SMALL.max(4 * self.live) {
            // The batch is kept, whatever comes of it; the next one tries again.
            let _ = self.rewrite();
        }
        Ok(())
    }

    fn append(&mut self, batch: &[u8]) -> io::Result<()> {
        self.file.write_all(batch)?;
        if self.durability == Durability::Disk { self.file.sync_data() } else { Ok(()) }
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

    /// Writes what is of the present to another file, and puts it in the place of this one.
    fn rewrite(&mut self) -> io::Result<()> {
        let pair = |(key, value): (&Bytes, &Bytes)| Write { key: key.clone(), value: Some(value.clone()) };
        let all: Vec<Write> = self.map.iter().map(pair).collect();
        let (batch, beside) = (encode(&all), self.path.with_extension("new"));
        let mut file = File::create(&beside)?;
        file.write_all(&batch)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        (self.file, self.length) = (file, batch.len() as u64);
        // Until the folder is on the disk, a crash may bring the old file back.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let kept = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
        self.broken = kept.is_err();
        kept
    }
}

/// The length of a batch, its checksum, and its writes: the lengths of key and value, and both. A value that is as long
/// as can be is none.
fn encode(writes: &[Write]) -> Vec<u8> {
    let mut batch = vec![0; 16];
    for Write { key, value } in writes {
        let length = value.as_ref().map_or(u32::MAX, |value| value.len() as u32);
        batch.extend_from_slice(&(key.len() as u32).to_le_bytes());
        batch.extend_from_slice(&length.to_le_bytes());
        batch.extend_from_slice(key);
        batch.extend_from_slice(value.as_deref().unwrap_or_default());
    }
    let (length, sum) = ((batch.len() - 16) as u64, checksum(&batch[16..]));
    batch[..8].copy_from_slice(&length.to_le_bytes());
    batch[8..16].copy_from_slice(&sum.to_le_bytes());
    batch
}

/// The first batch and what comes after it; `None` at the end and where the file is not what was written.
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
        let value = length.map(|_| Bytes::copy_from_slice(value));
        writes.push(Write { key: Bytes::copy_from_slice(key), value });
        batch = after;
    }
    Some((writes, rest))
}

/// FNV-1a: enough to find a write that ended half-way.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn unavailable(error: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the log file cannot be read or written").with_source(error)
}

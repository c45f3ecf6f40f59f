//! The interface over `redb`: a store with one writer at a time and snapshots for readers.

use std::{fmt, path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
    backends::InMemoryBackend,
};
use smache_core::{
    Backend, Clock, EntryId, Error, ErrorKind, FunctionKey, Incarnation, Lane, ManualClock, Namespace, NewJob, Result,
    Token,
};
use smache_kv::{Access, KeyValue, KvBackend, Started, Transaction, Write};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("smache");

/// The key of the store's incarnation: the store keeps it as long as the file exists, since a commit is on the disk.
const INCARNATION: &[u8] = b"\0incarnation";

pub(crate) struct Redb {
    database: Arc<Database>,
    incarnation: Incarnation,
    clock: Arc<dyn Clock>,
}

impl Redb {
    pub(crate) fn open(path: &Path, clock: impl Clock) -> Result<Self> {
        Self::of(Database::create(path).map_err(failed)?, clock)
    }

    pub(crate) fn in_memory(clock: impl Clock) -> Result<Self> {
        Self::of(Database::builder().create_with_backend(InMemoryBackend::new()).map_err(failed)?, clock)
    }

    fn of(database: Database, clock: impl Clock) -> Result<Self> {
        let writing = database.begin_write().map_err(failed)?;
        let incarnation = {
            let mut table = writing.open_table(TABLE).map_err(failed)?;
            let known = table.get(INCARNATION).map_err(failed)?.map(|name| name.value().to_vec());
            let name = known.unwrap_or_else(|| format!("redb-{}", Token::random()).into_bytes());
            table.insert(INCARNATION, name.as_slice()).map_err(failed)?;
            Incarnation::new(String::from_utf8_lossy(&name))
        };
        writing.commit().map_err(failed)?;
        Ok(Self { database: Arc::new(database), incarnation, clock: Arc::new(clock) })
    }
}

impl fmt::Debug for Redb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redb")
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unavailable, "the redb file fails").with_source(error)
}

/// The calls of redb wait for each other and for the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

enum Open {
    Reads(ReadTransaction),
    Writes(Box<WriteTransaction>),
}

#[async_trait]
impl KeyValue for Redb {
    async fn begin(&self, access: Access) -> Result<Started> {
        // A reader's time is from before its snapshot. A writer waits for the one before it, and no other writes after
        // that.
        let before = self.clock.now();
        let database = Arc::clone(&self.database);
        let open = match access {
            Access::Read => blocking(move || database.begin_read().map(Open::Reads).map_err(failed)).await?,
            Access::Write => {
                blocking(move || database.begin_write().map(|writes| Open::Writes(Box::new(writes))).map_err(failed))
                    .await?
            }
        };
        let now = if access == Access::Read { before } else { self.clock.now() };
        Ok(Started { now, incarnation: self.incarnation.clone(), transaction: Box::new(open) })
    }
}

fn get(table: &impl ReadableTable<&'static [u8], &'static [u8]>, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>> {
    let one = |key: &Bytes| {
        let value = table.get(&key[..]).map_err(failed)?;
        Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
    };
    keys.iter().map(one).collect()
}

fn scan(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    (from, to): (&Bytes, &Bytes),
    limit: usize,
) -> Result<Vec<(Bytes, Bytes)>> {
    if from >= to {
        return Ok(Vec::new());
    }
    let pair = |found: std::result::Result<_, _>| {
        let (key, value): (redb::AccessGuard<'_, &[u8]>, redb::AccessGuard<'_, &[u8]>) = found.map_err(failed)?;
        Ok((Bytes::copy_from_slice(key.value()), Bytes::copy_from_slice(value.value())))
    };
    table.range(&from[..]..&to[..]).map_err(failed)?.take(limit).map(pair).collect()
}

#[async_trait]
impl Transaction for Open {
    async fn get(&mut self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>> {
        match self {
            Self::Reads(reads) => get(&reads.open_table(TABLE).map_err(failed)?, keys),
            Self::Writes(writes) => get(&writes.open_table(TABLE).map_err(failed)?, keys),
        }
    }

    async fn scan(&mut self, from: &Bytes, to: &Bytes, limit: usize) -> Result<Vec<(Bytes, Bytes)>> {
        match self {
            Self::Reads(reads) => scan(&reads.open_table(TABLE).map_err(failed)?, (from, to), limit),
            Self::Writes(writes) => scan(&writes.open_table(TABLE).map_err(failed)?, (from, to), limit),
        }
    }

    async fn commit(self: Box<Self>, writes: Vec<Write>) -> Result<()> {
        let Self::Writes(transaction) = *self else {
            return Err(Error::new(ErrorKind::Unsupported, "a transaction that reads cannot write"));
        };
        blocking(move || {
            {
                let mut table = transaction.open_table(TABLE).map_err(failed)?;
                for Write { key, value } in &writes {
                    match value {
                        Some(value) => drop(table.insert(&key[..], &value[..]).map_err(failed)?),
                        None => drop(table.remove(&key[..]).map_err(failed)?),
                    }
                }
            }
            transaction.commit().map_err(failed)
        })
        .await
    }
}

/// On the disk, and in another incarnation.
#[tokio::test]
async fn results_and_jobs_outlive_the_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cache.redb");
    let clock = ManualClock::default();
    let namespace = Namespace::new("shop").expect("a good name");
    let id = EntryId::new(FunctionKey::from_bytes([7; 8]), [1; 16]);
    let incarnation = {
        let (store, queue) =
            KvBackend::new(Redb::open(&path, clock.clone()).expect("a file")).both(&namespace).expect("both");
        queue.enqueue(&[NewJob::now(id, Lane::Recompute)]).await.expect("enqueue");
        store.lookup(&[]).await.expect("look-up").incarnation
    };
    let (store, queue) = KvBackend::new(Redb::open(&path, clock).expect("the file")).both(&namespace).expect("both");
    assert_eq!(queue.counts().await.expect("counts").recompute, 1);
    assert_eq!(
        store.lookup(&[]).await.expect("look-up").incarnation,
        incarnation,
        "a commit is on the disk: it is the same store"
    );
}

//! How to open a file.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use smache_core::{Backend, CacheStore, Clock, Incarnation, JobQueue, JobWrites, Namespace, Result, SystemClock};

use super::{SqliteQueue, SqliteStore, clocks, in_transaction::INCARNATION, link::Link, schema};
use crate::{cells::Cells, error::unexpected};

/// A SQLite file as a backend. Clones share its connections; several processes may have the same file open.
///
/// An acknowledged step is on the disk: it survives the end of the process and of the machine.
#[derive(Clone)]
pub struct Sqlite {
    link: Arc<Link>,
}

impl Sqlite {
    /// Opens a file with the tables `smache_*`: makes them if they are missing, and migrates those of an older release.
    ///
    /// The file should be on a disk of this machine: SQLite cannot lock files of most network file systems.
    ///
    /// # Errors
    /// - [`ErrorKind::Config`](smache_core::ErrorKind::Config): the path is a folder, or is in one that does not exist
    /// - [`ErrorKind::Unavailable`](smache_core::ErrorKind::Unavailable): the file or its folder cannot be opened
    /// - [`ErrorKind::WrongServer`](smache_core::ErrorKind::WrongServer): no SQLite database, read-only, or with tables
    ///   of a newer release
    /// - [`ErrorKind::Timeout`](smache_core::ErrorKind::Timeout): another process keeps it locked
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder(path).open().await
    }

    /// Opens a file with other settings than the usual ones.
    pub fn builder(path: impl AsRef<Path>) -> SqliteBuilder {
        SqliteBuilder {
            path: path.as_ref().to_owned(),
            busy_timeout: Duration::from_secs(5),
            max_bytes: None,
            clock: Arc::new(SystemClock),
        }
    }
}

impl Backend for Sqlite {
    fn store(&self, namespace: &Namespace) -> Result<Arc<dyn CacheStore>> {
        Ok(Arc::new(SqliteStore::new(self.link.clone(), namespace, JobWrites::Reported)))
    }

    fn queue(&self, namespace: &Namespace) -> Result<Arc<dyn JobQueue>> {
        Ok(Arc::new(SqliteQueue::new(self.link.clone(), namespace)))
    }

    fn both(&self, namespace: &Namespace) -> Result<(Arc<dyn CacheStore>, Arc<dyn JobQueue>)> {
        let store = SqliteStore::new(self.link.clone(), namespace, JobWrites::SameStep);
        Ok((Arc::new(store), self.queue(namespace)?))
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("link", &self.link).finish()
    }
}

/// Opens a file with other settings than the usual ones.
#[derive(Debug, Clone)]
#[must_use]
pub struct SqliteBuilder {
    path: PathBuf,
    busy_timeout: Duration,
    max_bytes: Option<u64>,
    clock: Arc<dyn Clock>,
}

impl SqliteBuilder {
    /// How long a step waits for the steps of other processes; 5 seconds unless it is set.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// How large the file may grow by the steps of this process; without a bound unless it is set.
    ///
    /// A step that needs more is refused as a whole, with an error of kind
    /// [`Unavailable`](smache_core::ErrorKind::Unavailable); stored results stay readable, and removals and expiries
    /// make room. The file does not shrink, and a bound below its present size keeps it from growing. The log beside
    /// the file (`-wal`) comes on top, with a few megabytes as long as no reader holds it.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Where the time comes from, for example a [`ManualClock`](smache_core::ManualClock) for tests without sleeps. All
    /// processes that share the file must go by the same clock. A `SqliteTransaction` on the file goes by it, too.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Opens the file.
    ///
    /// # Errors
    /// As [`Sqlite::open`].
    pub async fn open(self) -> Result<Sqlite> {
        let link = Link::open(&self.path, self.busy_timeout, self.max_bytes, self.clock).await?;
        schema::prepare(&link).await?;
        let incarnation = link.read(INCARNATION, |query| query).await?;
        let incarnation =
            incarnation.first().map_or(Ok(None), |row| row.text(0)).map_err(|error| link.failed(error))?;
        let incarnation = incarnation.ok_or_else(|| unexpected("open"))?;
        clocks::note(Incarnation::new(incarnation + &link.place.mark), &link.clock);
        Ok(Sqlite { link: Arc::new(link) })
    }
}

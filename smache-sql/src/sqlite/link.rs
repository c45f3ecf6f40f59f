//! The connections to the file.
//!
//! All of them are opened at once, so that all of them have the same file open whatever happens to the path. SQLite has
//! one writer at a time: within the process the writers stand in line for one connection, which is fairer and faster
//! than to compete for the lock of the file; only with other processes they compete for that.

use std::{
    collections::HashMap,
    fmt,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::Duration,
};

use smache_core::{Clock, Error, ErrorKind, Namespace, Result};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Sqlite, SqliteConnection,
    query::Query,
    sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous},
};
use tokio::{
    sync::{Mutex, Notify, Semaphore, SemaphorePermit},
    time::Instant,
};

use crate::{
    cells::time,
    error::{failed, unexpected, wrong_server},
};

/// A statement with its arguments.
pub(super) type Statement = Query<'static, Sqlite, SqliteArguments>;

/// Connections that read at a time.
const READERS: usize = 4;

/// The way to a file.
pub(super) struct Link {
    pub(super) writer: Mutex<SqliteConnection>,
    readers: StdMutex<Vec<SqliteConnection>>,
    permits: Semaphore,
    options: SqliteConnectOptions,
    busy_timeout: Duration,
    max_bytes: Option<u64>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) place: Place,
    /// Notified when this process has added jobs.
    notifiers: StdMutex<HashMap<String, Arc<Notify>>>,
}

/// Which file.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) file: Arc<str>,
    /// Tells this file from another one that was restored to the same path with the same content.
    pub(super) mark: String,
    /// Absolute, since a program may change its working folder.
    path: PathBuf,
}

impl Place {
    pub(super) fn of(path: &Path) -> Self {
        let file = path.display().to_string().into();
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { file, mark: mark(&path), path }
    }

    /// Whether the path still leads to the file that is open. A program with a replaced file open would go on with that
    /// one, which gets no more writes, and would take its contents for the present ones.
    pub(super) fn check(&self) -> Result<()> {
        if mark(&self.path) == self.mark {
            return Ok(());
        }
        let message = "the database file was replaced or removed while it was open: open it again";
        Err(wrong_server(message, &self.file))
    }

    pub(super) fn failed(&self, error: sqlx::Error) -> Error {
        failed(error, &self.file)
    }
}

/// A connection that reads.
struct Reader<'a> {
    connection: Option<SqliteConnection>,
    link: &'a Link,
    _permit: SemaphorePermit<'a>,
}

impl Link {
    pub(super) async fn open(
        path: &Path,
        busy_timeout: Duration,
        max_bytes: Option<u64>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let file: Arc<str> = path.display().to_string().into();
        if path.as_os_str() == ":memory:" || path.as_os_str().is_empty() {
            // SQLite would give each connection a separate database.
            let message = "the path names no file: use one, or the backend `memory:` (`smache-memory`) for results that need not last";
            return Err(Error::new(ErrorKind::Config, message).with_context("database", &file));
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // Every commit is on the disk before it is acknowledged.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(busy_timeout)
            .disable_statement_logging();
        let broken = |error| wrong_path(path, &file).unwrap_or_else(|| failed(error, &file));
        let writer = open_writer(&options, max_bytes, busy_timeout).await.map_err(broken)?;
        let mut readers = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            readers.push(connect(&options, busy_timeout).await.map_err(broken)?);
        }
        Ok(Self {
            writer: Mutex::new(writer),
            readers: StdMutex::new(readers),
            permits: Semaphore::new(READERS),
            options,
            busy_timeout,
            max_bytes,
            clock,
            place: Place::of(path),
            notifiers: StdMutex::default(),
        })
    }

    /// The time at which a step is requested, before it waits for a lock: an older time only makes leases shorter, and
    /// a value never looks fresh as of a moment at which a change that it misses was acknowledged.
    pub(super) fn now(&self) -> i64 {
        time(self.clock.now())
    }

    pub(super) fn failed(&self, error: sqlx::Error) -> Error {
        self.place.failed(error)
    }

    pub(super) fn path(&self) -> &Path {
        self.options.get_filename()
    }

    pub(super) fn max_bytes(&self) -> Option<u64> {
        self.max_bytes
    }

    /// Makes the connection that writes ready for a transaction.
    ///
    /// A full disk ends a transaction by itself. The driver does not see that, fails to roll back a transaction that is
    /// over, and takes every later one for a nested one: such a connection is replaced.
    pub(super) async fn mend(&self, writer: &mut SqliteConnection) -> Result<()> {
        let failed = |error| self.failed(error);
        if writer.is_in_transaction() {
            // The end of a transaction that was dropped half-way may still be on its way.
            writer.ping().await.map_err(failed)?;
        }
        if writer.is_in_transaction() {
            let options = self.options.clone().create_if_missing(false);
            let mended = open_writer(&options, self.max_bytes, self.busy_timeout).await.map_err(failed)?;
            self.place.check()?;
            *writer = mended;
        }
        Ok(())
    }

    /// One statement that reads, so one snapshot.
    pub(super) async fn read(
        &self,
        sql: &'static str,
        bind: impl FnOnce(Statement) -> Statement + Send,
    ) -> Result<Vec<SqliteRow>> {
        let mut reader = self.reader().await?;
        let rows = bind(sqlx::query(sql)).fetch_all(&mut *reader).await.map_err(|error| self.failed(error))?;
        // Afterwards: data read before the file was replaced was true then.
        self.place.check()?;
        Ok(rows)
    }

    async fn reader(&self) -> Result<Reader<'_>> {
        let permit = self.permits.acquire().await.map_err(|_| unexpected("read"))?;
        let connection = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if connection.is_none() {
            return Err(unexpected("read"));
        }
        Ok(Reader { connection, link: self, _permit: permit })
    }

    pub(super) fn notifier(&self, name: &str) -> Arc<Notify> {
        let mut notifiers = self.notifiers.lock().unwrap_or_else(PoisonError::into_inner);
        notifiers.entry(name.to_owned()).or_default().clone()
    }
}

impl Deref for Reader<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        self.connection.as_ref().expect("it is there until it is dropped")
    }
}

impl DerefMut for Reader<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.connection.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        // Also after a read that was dropped half-way: its statement ends with the stream of its rows.
        if let Some(connection) = self.connection.take() {
            self.link.readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}

/// The fault of a path that could not be opened, where it can be seen.
fn wrong_path(path: &Path, file: &str) -> Option<Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let message = if path.is_dir() {
        "the path of the database is a folder: name a file in it".to_owned()
    } else if let Some(folder) = folder.filter(|folder| !folder.exists()) {
        format!("there is no folder `{}` for the database file: create it or check the path", folder.display())
    } else {
        return None;
    };
    Some(Error::new(ErrorKind::Config, message).with_context("database", file))
}

/// Opens a connection. While another process makes the file one with a write-ahead log, SQLite reports at once that it
/// is busy, whatever the busy timeout.
async fn connect(options: &SqliteConnectOptions, patience: Duration) -> sqlx::Result<SqliteConnection> {
    let started = Instant::now();
    loop {
        match options.connect().await {
            Err(error) if is_busy(&error) && started.elapsed() < patience => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            opened => return opened,
        }
    }
}

fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    // The lowest byte of an extended code is the plain one.
    code.and_then(|code| code.parse::<i64>().ok()).is_some_and(|code| code & 0xff == 5)
}

/// The connection that writes, which is the only one that has to know how large the file may be.
async fn open_writer(
    options: &SqliteConnectOptions,
    max_bytes: Option<u64>,
    patience: Duration,
) -> sqlx::Result<SqliteConnection> {
    let mut writer = connect(options, patience).await?;
    if let Some(bytes) = max_bytes {
        let page: i64 = sqlx::query_scalar("PRAGMA page_size").fetch_one(&mut writer).await?;
        let pages = i64::try_from(bytes).unwrap_or(i64::MAX) / page.max(1);
        // The most that SQLite can number.
        let pragma = format!("PRAGMA max_page_count = {}", pages.clamp(1, 4_294_967_294));
        sqlx::raw_sql(AssertSqlSafe(pragma)).execute(&mut writer).await?;
    }
    Ok(writer)
}

/// The number of the file where the system has one: a copy that was restored has another one.
fn mark(path: &Path) -> String {
    #[cfg(unix)]
    if let Ok(file) = std::fs::metadata(path) {
        return format!("/{}", std::os::unix::fs::MetadataExt::ino(&file));
    }
    let _ = path;
    String::new()
}

/// The name of a namespace as the roles keep it.
pub(super) fn name_of(namespace: &Namespace) -> String {
    namespace.as_str().to_owned()
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("file", &self.place.file).field("clock", &self.clock).finish_non_exhaustive()
    }
}

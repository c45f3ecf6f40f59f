//! SQLite as a key-value store of `smache-kv`: the experiment against the native store and queue.
//!
//! One table, one connection that writes, four that read, and the settings of the native backend. Each call of a
//! transaction is one message to the thread of a connection: `BEGIN` goes with the first statement, `COMMIT` with the
//! batch, and a transaction that reads once needs neither.

use std::{
    collections::HashMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex as StdMutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use smache::{
    backend::{Clock as _, Error, ErrorKind, Incarnation, Result, SystemClock, Token},
    kv::{Access, KeyValue, Started, Transaction, Write, conflict},
    sqlite::sqlx::{
        self, AssertSqlSafe, ConnectOptions as _, Row as _, SqliteConnection,
        query::Query,
        sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous},
    },
};
use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore},
};

/// Connections that read at a time.
const READERS: usize = 4;

/// The most rows of one statement.
const ROWS: usize = 512;

/// The most values of one row.
const COLUMNS: usize = 128;

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS smache_kv (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID, STRICT; \
     CREATE TABLE IF NOT EXISTS smache_kv_meta (incarnation TEXT NOT NULL) STRICT";
const SCAN: &str = "SELECT key, value FROM smache_kv WHERE key >= ? AND key < ? ORDER BY key LIMIT ?";

type Statement = Query<'static, sqlx::Sqlite, SqliteArguments>;

/// A SQLite file as a key-value store.
#[derive(Debug)]
pub struct SqliteKeyValue {
    writer: Arc<Mutex<Connection>>,
    readers: Arc<StdMutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    incarnation: Incarnation,
    path: PathBuf,
    mark: u64,
}

/// A connection, and whether a transaction may be open on it.
#[derive(Debug)]
struct Connection {
    sqlite: SqliteConnection,
    open: bool,
}

impl SqliteKeyValue {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .statement_cache_capacity(500)
            .row_buffer_size(1_024)
            .disable_statement_logging();
        let connect = || async { Ok(Connection { sqlite: options.connect().await.map_err(failed)?, open: false }) };
        let mut writer = connect().await?;
        sqlx::raw_sql(SCHEMA).execute(&mut writer.sqlite).await.map_err(failed)?;
        let insert = "INSERT INTO smache_kv_meta SELECT ? WHERE NOT EXISTS (SELECT 1 FROM smache_kv_meta)";
        let random = format!("sqlite-{}", Token::random());
        sqlx::query(insert).bind(random).execute(&mut writer.sqlite).await.map_err(failed)?;
        let incarnation = sqlx::query_scalar("SELECT incarnation FROM smache_kv_meta");
        let incarnation: String = incarnation.fetch_one(&mut writer.sqlite).await.map_err(failed)?;
        let mut readers = Vec::new();
        for _ in 0..READERS {
            readers.push(connect().await?);
        }
        let path = path.as_ref().to_owned();
        let mark = mark(&path);
        Ok(Self {
            writer: Arc::new(Mutex::new(writer)),
            readers: Arc::new(StdMutex::new(readers)),
            permits: Arc::new(Semaphore::new(READERS)),
            incarnation: Incarnation::new(format!("{incarnation}/{mark}")),
            path,
            mark,
        })
    }

    fn check(&self) -> Result<()> {
        if mark(&self.path) == self.mark {
            return Ok(());
        }
        Err(Error::new(ErrorKind::WrongServer, "the database file was replaced while it was open: open it again"))
    }
}

fn mark(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| std::os::unix::fs::MetadataExt::ino(&file))
}

fn failed(error: sqlx::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the database fails").with_source(error)
}

#[async_trait]
impl KeyValue for SqliteKeyValue {
    async fn begin(&self, access: Access) -> Result<Started> {
        let now = SystemClock.now();
        self.check()?;
        let held = match access {
            Access::Read => {
                let permit = Arc::clone(&self.permits).acquire_owned().await;
                let permit = permit.map_err(|_| Error::new(ErrorKind::Internal, "the semaphore was closed"))?;
                let connection = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let connection = connection.ok_or_else(|| Error::new(ErrorKind::Internal, "no reader is left"))?;
                Held::Reader(Reader {
                    connection: Some(connection),
                    readers: Arc::clone(&self.readers),
                    _permit: permit,
                })
            }
            Access::Write => Held::Writer(Arc::clone(&self.writer).lock_owned().await),
        };
        let mut transaction = Lite { held: Some(held), begun: false, access, first: None };
        transaction.end_earlier().await?;
        Ok(Started { now, incarnation: self.incarnation.clone(), transaction: Box::new(transaction) })
    }
}

/// A connection that a transaction holds.
enum Held {
    Writer(OwnedMutexGuard<Connection>),
    Reader(Reader),
}

struct Reader {
    connection: Option<Connection>,
    readers: Arc<StdMutex<Vec<Connection>>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}

impl Held {
    fn connection(&mut self) -> &mut Connection {
        match self {
            Self::Writer(writer) => writer,
            Self::Reader(reader) => reader.connection.as_mut().expect("it is there until it is dropped"),
        }
    }
}

/// What a transaction has read first.
enum First {
    Get(Vec<Bytes>, Vec<Option<Bytes>>),
    Scan(Bytes, Bytes, usize, Vec<(Bytes, Bytes)>),
}

/// A transaction.
struct Lite {
    held: Option<Held>,
    begun: bool,
    access: Access,
    /// Of a transaction that reads: it was one statement without a transaction so far.
    first: Option<First>,
}

impl Lite {
    fn connection(&mut self) -> &mut Connection {
        self.held.as_mut().expect("it is there until the end").connection()
    }

    /// A transaction that was dropped where nothing could end it.
    async fn end_earlier(&mut self) -> Result<()> {
        let connection = self.connection();
        if connection.open {
            // It fails if the transaction is over.
            let _ = sqlx::raw_sql("ROLLBACK").execute(&mut connection.sqlite).await;
            connection.open = false;
        }
        Ok(())
    }

    /// What has to be sent before the next statement.
    fn prefix(&mut self) -> Prefix {
        if self.begun {
            return Prefix::Nothing;
        }
        self.begun = true;
        self.connection().open = true;
        match self.access {
            Access::Read => Prefix::Begin,
            Access::Write => Prefix::Immediate,
        }
    }

    /// The second statement of a transaction that reads needs the state of the first one.
    async fn go_on(&mut self) -> Result<()> {
        match self.first.take() {
            None => Ok(()),
            Some(First::Get(keys, before)) => {
                let prefix = self.prefix();
                if self.get_all(&keys, prefix).await? == before { Ok(()) } else { Err(conflict()) }
            }
            Some(First::Scan(from, to, limit, before)) => {
                let prefix = self.prefix();
                if self.scan_all(&from, &to, limit, prefix).await? == before { Ok(()) } else { Err(conflict()) }
            }
        }
    }

    async fn get_all(&mut self, keys: &[Bytes], mut prefix: Prefix) -> Result<Vec<Option<Bytes>>> {
        let mut values = vec![None; keys.len()];
        for (chunk, values) in keys.chunks(ROWS).zip(values.chunks_mut(ROWS)) {
            let mut query = statement(Shape { prefix, get: rounded(chunk.len()), ..Shape::default() });
            for key in chunk {
                query = query.bind(key.to_vec());
            }
            prefix = Prefix::Nothing;
            let rows = query.fetch_all(&mut self.connection().sqlite).await.map_err(failed)?;
            for (row, values) in rows.iter().zip(values.chunks_mut(COLUMNS)) {
                for (place, value) in values.iter_mut().enumerate() {
                    *value = row.try_get::<Option<Vec<u8>>, _>(place).map_err(failed)?.map(Bytes::from);
                }
            }
        }
        Ok(values)
    }

    async fn scan_all(
        &mut self,
        from: &Bytes,
        to: &Bytes,
        limit: usize,
        prefix: Prefix,
    ) -> Result<Vec<(Bytes, Bytes)>> {
        let query = statement(Shape { prefix, scan: true, ..Shape::default() });
        let query = query.bind(from.to_vec()).bind(to.to_vec()).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = query.fetch_all(&mut self.connection().sqlite).await.map_err(failed)?;
        rows.iter().map(|row| Ok((bytes(row, 0)?, bytes(row, 1)?))).collect()
    }
}

fn bytes(row: &SqliteRow, place: usize) -> Result<Bytes> {
    row.try_get::<Vec<u8>, _>(place).map(Bytes::from).map_err(failed)
}

#[async_trait]
impl Transaction for Lite {
    async fn get(&mut self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>> {
        if self.access == Access::Read && !self.begun && self.first.is_none() && keys.len() <= ROWS {
            let values = self.get_all(keys, Prefix::Nothing).await?;
            self.first = Some(First::Get(keys.to_vec(), values.clone()));
            return Ok(values);
        }
        self.go_on().await?;
        let prefix = self.prefix();
        self.get_all(keys, prefix).await
    }

    async fn scan(&mut self, from: &Bytes, to: &Bytes, limit: usize) -> Result<Vec<(Bytes, Bytes)>> {
        if self.access == Access::Read && !self.begun && self.first.is_none() {
            let found = self.scan_all(from, to, limit, Prefix::Nothing).await?;
            self.first = Some(First::Scan(from.clone(), to.clone(), limit, found.clone()));
            return Ok(found);
        }
        self.go_on().await?;
        let prefix = self.prefix();
        self.scan_all(from, to, limit, prefix).await
    }

    async fn commit(mut self: Box<Self>, writes: Vec<Write>) -> Result<()> {
        let mut removed = Vec::new();
        let mut written = Vec::new();
        for Write { key, value } in writes {
            match value {
                Some(value) => written.push((key, value)),
                None => removed.push(key),
            }
        }
        let (mut removed, mut written) = (&removed[..], &written[..]);
        loop {
            let (now_removed, removed_later) = removed.split_at(removed.len().min(ROWS));
            let (now_written, written_later) = written.split_at(written.len().min(ROWS));
            (removed, written) = (removed_later, written_later);
            let last = removed.is_empty() && written.is_empty();
            let delete = rounded(now_removed.len());
            let insert = rounded(now_written.len());
            let mut query =
                statement(Shape { prefix: self.prefix(), delete, insert, commit: last, ..Shape::default() });
            // A statement has some parameters more than rows: the last row stands for each of them.
            for key in now_removed.iter().chain(now_removed.last().into_iter().cycle()).take(delete) {
                query = query.bind(key.to_vec());
            }
            for (key, value) in now_written.iter().chain(now_written.last().into_iter().cycle()).take(insert) {
                query = query.bind(key.to_vec()).bind(value.to_vec());
            }
            query.execute(&mut self.connection().sqlite).await.map_err(failed)?;
            if last {
                self.connection().open = false;
                self.begun = false;
                return Ok(());
            }
        }
    }
}

impl Drop for Lite {
    fn drop(&mut self) {
        let Some(mut held) = self.held.take() else { return };
        if !held.connection().open {
            return;
        }
        // Soon, since it holds the lock or the log.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                let connection = held.connection();
                let _ = sqlx::raw_sql("ROLLBACK").execute(&mut connection.sqlite).await;
                connection.open = false;
            });
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Prefix {
    #[default]
    Nothing,
    Begin,
    Immediate,
}

/// The statements of one message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Shape {
    prefix: Prefix,
    get: usize,
    scan: bool,
    delete: usize,
    insert: usize,
    commit: bool,
}

/// The number of rows for which there is a statement.
fn rounded(rows: usize) -> usize {
    match rows {
        0..=16 => rows,
        17..=64 => rows.next_multiple_of(8),
        65..=128 => rows.next_multiple_of(32),
        _ => rows.next_multiple_of(128),
    }
}

fn statement(shape: Shape) -> Statement {
    static TEXTS: LazyLock<StdMutex<HashMap<Shape, Arc<str>>>> = LazyLock::new(StdMutex::default);
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    let text = texts.entry(shape).or_insert_with(|| text(shape).into());
    sqlx::query(AssertSqlSafe(Arc::clone(text)))
}

fn text(shape: Shape) -> String {
    let mut text = String::new();
    text.push_str(match shape.prefix {
        Prefix::Nothing => "",
        Prefix::Begin => "BEGIN;",
        Prefix::Immediate => "BEGIN IMMEDIATE;",
    });
    if shape.get > 0 {
        // Columns of one row instead of rows: each row is one message between two threads.
        for place in 0..shape.get {
            text.push_str(if place % COLUMNS == 0 { "SELECT " } else { "," });
            text.push_str("(SELECT value FROM smache_kv WHERE key = ?)");
            if place % COLUMNS == COLUMNS - 1 || place == shape.get - 1 {
                text.push(';');
            }
        }
    }
    if shape.scan {
        text.push_str(SCAN);
        text.push(';');
    }
    if shape.delete > 0 {
        let _ = write!(text, "DELETE FROM smache_kv WHERE key IN (?{});", ",?".repeat(shape.delete - 1));
    }
    if shape.insert > 0 {
        let rows = ",(?,?)".repeat(shape.insert - 1);
        let _ = write!(text, "INSERT OR REPLACE INTO smache_kv (key, value) VALUES (?,?){rows};");
    }
    if shape.commit {
        text.push_str("COMMIT");
    }
    text
}

//! The connections, and how a step is run on one of them.
//!
//! This module keeps the connections that it opens, instead of a pool of `sqlx`: such a pool tests a connection by a
//! round trip when it is given back, and hides for seconds that a subscription is lost.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use smache_core::{Error, ErrorKind, Result};
use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgArguments, PgConnectOptions, PgRow},
    query::Query,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use super::{
    config::server_name,
    schema::{check_server, set_bounds},
};
use crate::error::{ends_connection, failed, lost_against_others};

/// A statement with its arguments.
pub(super) type Statement = Query<'static, Postgres, PgArguments>;

/// How often a step is begun that lost against others.
const TRIES: u32 = 5;

/// A connection that was idle for longer is tested before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(10);

/// How long a step may take that has very much to do.
const LONG_STEP: Duration = Duration::from_secs(600);

/// The way to a database.
pub(crate) struct Link {
    way: Way,
    pub(super) server: Arc<str>,
    statement_timeout: Duration,
    connect_timeout: Duration,
}

enum Way {
    Own { options: Box<PgConnectOptions>, connections: u32, permits: Arc<Semaphore>, kept: Arc<Mutex<IdleConnections>> },
    Given(PgPool),
}

/// The idle connections, the one used last at the end.
#[derive(Default)]
struct IdleConnections {
    idle: Vec<Idle>,
    /// When a connection was last found dead: the older ones may be as well.
    suspect: Option<Instant>,
}

struct Idle {
    connection: PgConnection,
    opened: Instant,
    since: Instant,
}

/// A connection in use. It goes back to the idle ones only after a step that ended well: one that is dropped half-way
/// is closed.
enum Held {
    Own { connection: PgConnection, opened: Instant, kept: Arc<Mutex<IdleConnections>>, permit: OwnedSemaphorePermit },
    Given(PoolConnection<Postgres>),
}

impl Link {
    pub(super) fn own(options: PgConnectOptions, connections: u32, statement: Duration, connect: Duration) -> Self {
        let server = server_name(&options).into();
        let permits = Arc::new(Semaphore::new(connections as usize));
        // Look-ups are statements of some microseconds: to log each one slows them down.
        let options = Box::new(options.disable_statement_logging());
        let way = Way::Own { options, connections, permits, kept: Arc::default() };
        Self { way, server, statement_timeout: statement, connect_timeout: connect }
    }

    pub(super) fn given(pool: PgPool, statement: Duration, connect: Duration) -> Self {
        let server = server_name(&pool.connect_options()).into();
        Self { way: Way::Given(pool), server, statement_timeout: statement, connect_timeout: connect }
    }

    pub(super) fn options(&self) -> Arc<PgConnectOptions> {
        match &self.way {
            Way::Own { options, .. } => Arc::new((**options).clone()),
            Way::Given(pool) => pool.connect_options(),
        }
    }

    /// Whether the connections are those of a pool of the application, and how many there are at most.
    pub(super) fn connections(&self) -> (bool, u32) {
        match &self.way {
            Way::Own { connections, .. } => (false, *connections),
            Way::Given(pool) => (true, pool.options().get_max_connections()),
        }
    }

    /// A pool for the connection that listens, which keeps one.
    pub(super) fn listener_pool(&self) -> PgPool {
        match &self.way {
            Way::Own { options, .. } => sqlx::postgres::PgPoolOptions::new()
                .max_connections(1)
                .acquire_timeout(self.connect_timeout)
                .connect_lazy_with((**options).clone()),
            Way::Given(pool) => pool.clone(),
        }
    }

    /// One statement, one step. Tried again when it lost against others, and never when the connection was lost, since
    /// it may have happened.
    pub(crate) async fn step(
        &self,
        operation: &'static str,
        sql: &'static str,
        bind: impl Fn(Statement) -> Statement + Send + Sync,
    ) -> Result<Vec<PgRow>> {
        let mut tries = 1;
        loop {
            match self.once(sql, &bind).await {
                Err(Failure::Database(error)) if lost_against_others(&error) && tries < TRIES => {
                    tracing::debug!(operation, tries, "lost against other steps, trying again");
                    tokio::time::sleep(Duration::from_millis(5) * tries).await;
                    tries += 1;
                }
                answer => return answer.map_err(|failure| failure.of(self, operation)),
            }
        }
    }

    /// One statement that only reads: once more, on another connection, when its connection turns out to be lost.
    pub(crate) async fn read(
        &self,
        operation: &'static str,
        sql: &'static str,
        bind: impl Fn(Statement) -> Statement + Send + Sync,
    ) -> Result<Vec<PgRow>> {
        match self.once(sql, &bind).await {
            Err(Failure::Database(error)) if ends_connection(&error) => self.once(sql, &bind).await,
            answer => answer,
        }
        .map_err(|failure| failure.of(self, operation))
    }

    /// A step that may be a long one: an invalidation with very many dependants runs in one transaction. It gets more
    /// time when the usual time is over, so that no other step pays for that.
    pub(super) async fn long_step(
        &self,
        operation: &'static str,
        sql: &'static str,
        bind: impl Fn(Statement) -> Statement + Send + Sync,
    ) -> Result<Vec<PgRow>> {
        match self.step(operation, sql, &bind).await {
            Err(error) if error.kind() == ErrorKind::Timeout => {
                tracing::debug!(operation, "takes long, trying again with more time");
                let mut held = self.acquire().await.map_err(|failure| failure.of(self, operation))?;
                let asked = set_bounds(&mut held, LONG_STEP).await;
                asked.map_err(|error| Failure::Database(error).of(self, operation))?;
                let answer = self.on(&mut held, sql, &bind, LONG_STEP).await;
                // The bounds of a connection of the application are its own, and are not known here.
                let own = matches!(held, Held::Own { .. });
                if own && answer.is_ok() && set_bounds(&mut held, self.statement_timeout).await.is_ok() {
                    held.give_back();
                } else {
                    self.close(held);
                }
                answer.map_err(|failure| failure.of(self, operation))
            }
            answer => answer,
        }
    }

    async fn on(
        &self,
        held: &mut Held,
        sql: &'static str,
        bind: &(impl Fn(Statement) -> Statement + Send + Sync),
        bound: Duration,
    ) -> Result<Vec<PgRow>, Failure> {
        // The server has the same bound and gives up by itself; this one is for a server that is silent.
        let bound = bound + Duration::from_millis(500);
        match timeout(bound, bind(sqlx::query(sql)).fetch_all(&mut **held)).await {
            Ok(answer) => answer.map_err(Failure::Database),
            Err(_) => Err(Failure::Silent),
        }
    }

    async fn once(
        &self,
        sql: &'static str,
        bind: &(impl Fn(Statement) -> Statement + Send + Sync),
    ) -> Result<Vec<PgRow>, Failure> {
        let mut held = self.acquire().await?;
        let answer = self.on(&mut held, sql, bind, self.statement_timeout).await;
        match answer {
            Ok(rows) => {
                held.give_back();
                Ok(rows)
            }
            Err(Failure::Database(error)) if !ends_connection(&error) => {
                held.give_back();
                Err(Failure::Database(error))
            }
            Err(failure) => {
                self.close(held);
                Err(failure)
            }
        }
    }

    /// Several statements on one connection: this makes the tables. The caller interprets the error of a statement.
    pub(super) async fn script<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<Result<T, sqlx::Error>> {
        let mut held = self.acquire().await.map_err(|failure| failure.of(self, "connect"))?;
        let done = work(&mut held).await;
        match &done {
            Ok(_) => held.give_back(),
            Err(_) => self.close(held),
        }
        Ok(done)
    }

    async fn acquire(&self) -> Result<Held, Failure> {
        match timeout(self.connect_timeout, self.open()).await {
            Ok(opened) => opened,
            Err(_) => Err(Failure::Silent),
        }
    }

    async fn open(&self) -> Result<Held, Failure> {
        let (options, permits, kept) = match &self.way {
            Way::Given(pool) => return Ok(Held::Given(pool.acquire().await?)),
            Way::Own { options, permits, kept, .. } => (options, permits, kept),
        };
        let permit = permits.clone().acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)?;
        loop {
            let (idle, suspect) = {
                let mut kept = lock(kept);
                (kept.idle.pop(), kept.suspect)
            };
            let Some(Idle { mut connection, opened, since }) = idle else { break };
            let suspicious = since.elapsed() > TRUSTED_IDLE || suspect.is_some_and(|suspect| opened < suspect);
            if suspicious && connection.ping().await.is_err() {
                continue;
            }
            // A connection that has just answered counts as new.
            let opened = if suspicious { Instant::now() } else { opened };
            return Ok(Held::Own { connection, opened, kept: kept.clone(), permit });
        }
        let opened = Instant::now();
        let mut connection = options.connect().await?;
        check_server(&mut connection, self.statement_timeout, &self.server).await?;
        Ok(Held::Own { connection, opened, kept: kept.clone(), permit })
    }

    fn close(&self, held: Held) {
        match held {
            Held::Own { kept, .. } => lock(&kept).suspect = Some(Instant::now()),
            Held::Given(mut connection) => connection.close_on_drop(),
        }
    }
}

impl Held {
    fn give_back(self) {
        if let Self::Own { connection, opened, kept, permit } = self {
            lock(&kept).idle.push(Idle { connection, opened, since: Instant::now() });
            drop(permit);
        }
    }
}

impl Deref for Held {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match self {
            Self::Own { connection, .. } => connection,
            Self::Given(connection) => connection,
        }
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self {
            Self::Own { connection, .. } => connection,
            Self::Given(connection) => connection,
        }
    }
}

fn lock(kept: &Mutex<IdleConnections>) -> MutexGuard<'_, IdleConnections> {
    // Nothing that can panic half-way happens under this lock.
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The database's error, before the caller gets it as ours.
enum Failure {
    Database(sqlx::Error),
    Refused(Error),
    Silent,
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Failure {
    fn of(self, link: &Link, operation: &'static str) -> Error {
        let error = match self {
            Self::Database(error) => failed(error, &link.server),
            Self::Refused(error) => error,
            Self::Silent => {
                let message = "the server does not answer in time, or all connections are in use: check that it runs, or \
                               give the pool more connections";
                Error::new(ErrorKind::Timeout, message).with_context("database", &link.server)
            }
        };
        error.with_context("operation", operation)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("server", &self.server)
            .field("statement_timeout", &self.statement_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

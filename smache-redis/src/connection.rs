//! The one connection, and when it is opened again.
//!
//! A connection that reopened itself would hide that another server answers now. Here a call that finds no connection
//! opens one, and the connection carries the incarnation that was read on it before its first use.

use std::{
    fmt,
    sync::{
        Arc, Once, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{AsyncConnectionConfig, Client, PushInfo, PushKind, RedisError, Value, aio::MultiplexedConnection};
use smache_core::{Error, ErrorKind, Incarnation, Result};
use tokio::{sync::Mutex, time::Instant};

use crate::{
    error::{BECAME_REPLICA, LOST, corrupt, ends_connection, failed, with_rights},
    handshake::{Info, check_server, still},
    keys::Keys,
    layout,
    script::Call,
};

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The link to a server: at most one connection at a time.
pub(crate) struct Link {
    client: Client,
    server: Arc<str>,
    response_timeout: Duration,
    connect_timeout: Duration,
    current: RwLock<Option<Arc<Live>>>,
    /// Finished attempts to connect. A call that waited for one gets its outcome instead of making another.
    attempts: AtomicU64,
    connecting: Mutex<Failed>,
}

/// The last failures to connect.
#[derive(Default)]
struct Failed {
    last: Option<(Error, Instant)>,
    in_a_row: u32,
}

/// A connection with the incarnation of its server.
pub(crate) struct Live {
    connection: MultiplexedConnection,
    pub(crate) incarnation: Incarnation,
    server: Arc<str>,
    lost: Arc<AtomicBool>,
}

impl Link {
    pub(crate) fn new(client: Client, response_timeout: Duration, connect_timeout: Duration) -> Self {
        Self {
            server: client.get_connection_info().addr().to_string().into(),
            client,
            response_timeout,
            connect_timeout,
            current: RwLock::new(None),
            attempts: AtomicU64::new(0),
            connecting: Mutex::default(),
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The address, without any secret.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    fn current(&self) -> Option<Arc<Live>> {
        let current = self.current.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        current.as_ref().filter(|live| !live.lost.load(Ordering::Acquire)).cloned()
    }

    /// Drops the present connection: a reader of another connection has noticed that the server's role or history
    /// changed.
    pub(crate) fn leave(&self) {
        if let Some(live) = self.current() {
            live.lost.store(true, Ordering::Release);
        }
    }

    /// The connection; a new one if there is none.
    ///
    /// All calls that find none wait for the same attempt, at most for the bound of connecting, and share its failure.
    pub(crate) async fn live(&self) -> Result<Arc<Live>> {
        if let Some(live) = self.current() {
            return Ok(live);
        }
        let seen = self.attempts.load(Ordering::Acquire);
        // The connecting call is bounded, but may be dropped half-way; then the next in line connects.
        let Ok(mut failures) = tokio::time::timeout(self.connect_timeout, self.connecting.lock()).await else {
            return Err(self.silent());
        };
        if let Some(live) = self.current() {
            return Ok(live);
        }
        if let Some((error, at)) = &failures.last {
            let pause =
                SHORTEST_PAUSE.saturating_mul(1 << failures.in_a_row.saturating_sub(1).min(8)).min(LONGEST_PAUSE);
            if self.attempts.load(Ordering::Acquire) != seen || at.elapsed() < pause {
                return Err(error.clone());
            }
        }
        let opened = match tokio::time::timeout(self.connect_timeout, self.open()).await {
            Ok(opened) => opened,
            Err(_) => Err(self.silent()),
        };
        self.attempts.fetch_add(1, Ordering::AcqRel);
        match opened {
            Ok(live) => {
                *failures = Failed::default();
                tracing::debug!(server = %self.server, incarnation = %live.incarnation, "connected");
                *self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(live.clone());
                Ok(live)
            }
            Err(error) => {
                tracing::debug!(server = %self.server, error = %error.report(), "cannot connect");
                failures.in_a_row += 1;
                failures.last = Some((error.clone(), Instant::now()));
                Err(error)
            }
        }
    }

    fn silent(&self) -> Error {
        let message = "the server does not answer in time: is it a Redis, and is it running?";
        Error::new(ErrorKind::Timeout, message).with_context("server", &self.server)
    }

    async fn open(&self) -> Result<Arc<Live>> {
        provide_cryptography();
        let lost = Arc::new(AtomicBool::new(false));
        let flag = lost.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(Some(self.response_timeout))
            .set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    flag.store(true, Ordering::Release);
                }
                Ok::<(), ()>(())
            });
        let opened = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = opened.map_err(|error| match failed(error, &self.server) {
            // An error before the first command is about the server.
            error if error.kind() == ErrorKind::Internal => Error::new(
                ErrorKind::WrongServer,
                "the server refuses the connection: check the database number in the URL",
            )
            .with_context("server", &self.server)
            .with_source(error),
            error => self.never_answered(error),
        })?;
        let incarnation =
            check_server(&mut connection, &self.server).await.map_err(|error| self.never_answered(error))?;
        Ok(Arc::new(Live { connection, incarnation, server: self.server.clone(), lost }))
    }

    /// A server that closes the connection before its first answer may not be a Redis.
    fn never_answered(&self, error: Error) -> Error {
        if error.message() != LOST {
            return error;
        }
        let message = "the server closed the connection before it answered: check that it is a Redis and that the URL has \
                       its port (`rediss://` for TLS)";
        Error::new(ErrorKind::Unavailable, message).with_context("server", &self.server).with_source(error)
    }

    /// Calls a script once. It is not repeated when the connection is lost, since it may have run.
    pub(crate) async fn call(&self, call: &Call) -> Result<Value> {
        self.live().await?.call(call).await
    }

    /// Sends commands that only read; repeats them once, on a new connection, if the present one is lost. Returns one
    /// value for each command, and the connection that they were read on.
    pub(crate) async fn read(&self, commands: &redis::Pipeline) -> Result<(Vec<Value>, Arc<Live>)> {
        let live = self.live().await?;
        match live.read(commands).await {
            Ok(values) => Ok((values, live)),
            Err(error) if error.is_connection_dropped() => {
                let live = self.live().await?;
                let values = live.read(commands).await.map_err(|error| failed(error, &self.server))?;
                Ok((values, live))
            }
            Err(error) => Err(failed(error, &self.server)),
        }
    }

    /// Reads as [`read`](Self::read) does, from a server that still is the primary that it was when the connection was
    /// opened.
    ///
    /// A demoted primary goes on answering reads on open connections. While it cannot reach its successor it keeps all
    /// its data, and so everything that confirmed it, while its successor acknowledges changes. The role is read last:
    /// everything before it was read from a primary.
    pub(crate) async fn read_primary(&self, commands: &mut redis::Pipeline) -> Result<(Vec<Value>, Arc<Live>)> {
        commands.cmd("INFO").arg("replication");
        // The second time on a new connection: another server may have the address now.
        for _ in 0..2 {
            let (mut values, live) = self.read(commands).await?;
            let info = Info::of(values.pop().into_iter().collect(), &self.server)?;
            if still(&info, &live.incarnation) == (true, true) {
                return Ok((values, live));
            }
            live.lost.store(true, Ordering::Release);
        }
        Err(Error::new(ErrorKind::Unavailable, BECAME_REPLICA).with_context("server", &self.server))
    }
}

impl Live {
    async fn send(&self, command: &redis::Cmd) -> Result<Value, RedisError> {
        match self.connection.clone().send_packed_command(command).await {
            Ok(Value::ServerError(error)) => Err(self.noticed(error.into())),
            Ok(value) => Ok(value),
            Err(error) => Err(self.noticed(error)),
        }
    }

    async fn read(&self, commands: &redis::Pipeline) -> Result<Vec<Value>, RedisError> {
        let sent = self.connection.clone().send_packed_commands(commands, 0, commands.len()).await;
        sent.map_err(|error| self.noticed(error))
    }

    /// Calls a script on this connection, so on this incarnation.
    pub(crate) async fn call(&self, call: &Call) -> Result<Value> {
        let answer = match self.send(call.by_hash()).await {
            // The server refuses the call before anything runs, so the link may repeat it.
            Err(error) if error.code() == Some("NOSCRIPT") => self.send(&call.with_text()).await,
            answer => answer,
        };
        answer.map_err(|error| {
            if error.code() == Some(layout::CODE) {
                let found = error.detail().unwrap_or_default();
                return layout::other_layout(found, call.role(), &call.prefix(), &self.server);
            }
            let failed = failed(error, &self.server).with_context("operation", call.operation());
            with_rights(failed, call.role(), &call.prefix())
        })
    }

    /// An error of the server on one command of a pipeline, with its key.
    pub(crate) fn failed(&self, error: redis::ServerError, keys: &Keys, key: impl fmt::Display) -> Error {
        match failed(self.noticed(error.into()), &self.server) {
            error if error.kind() == ErrorKind::Corrupt => {
                corrupt("the key holds something else than this crate stores there: remove it", key).with_source(error)
            }
            error => with_rights(error.with_context("key", key), keys.role(), keys.prefix()),
        }
    }

    fn noticed(&self, error: RedisError) -> RedisError {
        if ends_connection(&error) {
            self.lost.store(true, Ordering::Release);
        }
        error
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("server", &self.server)
            .field("response_timeout", &self.response_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("incarnation", &self.current().map(|live| live.incarnation.clone()))
            .finish_non_exhaustive()
    }
}

/// `rustls` panics where no provider is installed and it cannot choose one.
pub(crate) fn provide_cryptography() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // An error means that another thread was faster, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
    });
}

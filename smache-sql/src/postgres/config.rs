//! How to connect.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use smache_core::{
    Backend, CacheStore, Error, ErrorKind, JobQueue, JobWrites, Namespace, Notifiers, Result,
    support::limits::CONNECT_TIMEOUT,
};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgSslMode},
};

use super::{PostgresQueue, PostgresStore, link::Link, notifier::Notifications, schema};

/// How long a statement of a step may take, unless the builder says otherwise.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// A PostgreSQL database as a backend. Clones share its connections.
///
/// The tables and functions `smache_*` live in the first schema of the connection's `search_path`, and are made when
/// they are missing.
#[derive(Clone)]
pub struct Postgres {
    link: Arc<Link>,
    notifiers: Arc<Notifiers>,
}

impl Postgres {
    /// Connects to a database, checks that it can be used, and makes the tables if they are missing. Those of an older
    /// release are migrated.
    ///
    /// The URL is `postgres://[user[:password]@]host[:port]/database[?options]`.
    ///
    /// # Errors
    /// - [`ErrorKind::Config`]: the URL is not valid
    /// - [`ErrorKind::Unavailable`], [`ErrorKind::Timeout`]: no server answers there, or it is starting
    /// - [`ErrorKind::Permission`]: the password or a permission is missing
    /// - [`ErrorKind::WrongServer`]: no such database, too old, a standby, read-only, or with tables of a newer release
    pub async fn connect(url: impl AsRef<str>) -> Result<Self> {
        Self::builder(url).connect().await
    }

    /// Connects with other bounds than the usual ones.
    pub fn builder(url: impl AsRef<str>) -> PostgresBuilder {
        PostgresBuilder {
            url: url.as_ref().to_owned(),
            connections: 10,
            statement_timeout: STATEMENT_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
        }
    }

    /// Uses the connections of a pool that the application has already, with its settings.
    ///
    /// A pool tests each connection with one more round trip before it hands it out, unless `test_before_acquire` is
    /// off; and the queue needs one connection more, for as long as workers wait for jobs.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn from_pool(pool: PgPool) -> Result<Self> {
        Self::from_link(Link::given(pool, STATEMENT_TIMEOUT, CONNECT_TIMEOUT)).await
    }

    async fn from_link(link: Link) -> Result<Self> {
        let link = Arc::new(link);
        schema::prepare(&link).await?;
        Ok(Self { notifiers: Notifiers::new(Arc::new(Notifications(link.clone()))), link })
    }
}

impl Backend for Postgres {
    fn store(&self, namespace: &Namespace) -> Result<Arc<dyn CacheStore>> {
        let notifier = self.notifiers.of(namespace);
        Ok(Arc::new(PostgresStore::new(self.link.clone(), namespace, JobWrites::Reported, notifier)))
    }

    fn queue(&self, namespace: &Namespace) -> Result<Arc<dyn JobQueue>> {
        Ok(Arc::new(PostgresQueue::new(self.link.clone(), namespace, self.notifiers.of(namespace))))
    }

    fn both(&self, namespace: &Namespace) -> Result<(Arc<dyn CacheStore>, Arc<dyn JobQueue>)> {
        let notifier = self.notifiers.of(namespace);
        let store = PostgresStore::new(self.link.clone(), namespace, JobWrites::SameStep, notifier);
        Ok((Arc::new(store), self.queue(namespace)?))
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("link", &self.link).finish_non_exhaustive()
    }
}

/// Connects to a database with other bounds than the usual ones.
#[derive(Clone)]
#[must_use]
pub struct PostgresBuilder {
    url: String,
    connections: u32,
    statement_timeout: Duration,
    connect_timeout: Duration,
}

impl PostgresBuilder {
    /// How many connections there are at most, at least one; 10 unless it is set. Waiting workers have one more.
    pub fn connections(mut self, connections: u32) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// How long a step may take; 5 seconds unless it is set. The server gets the same limit.
    pub fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout;
        self
    }

    /// How long it may take to connect, or to get a connection that others use; 5 seconds unless it is set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Connects and checks the server.
    ///
    /// # Errors
    /// As [`Postgres::connect`].
    pub async fn connect(self) -> Result<Postgres> {
        let options = options(&self.url)?;
        let link = Link::own(options, self.connections, self.statement_timeout, self.connect_timeout);
        Postgres::from_link(link).await
    }
}

impl fmt::Debug for PostgresBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = options(&self.url).map_or_else(|_| "not valid".to_owned(), |options| server_name(&options));
        f.debug_struct("PostgresBuilder")
            .field("server", &server)
            .field("connections", &self.connections)
            .field("statement_timeout", &self.statement_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .finish()
    }
}

fn options(url: &str) -> Result<PgConnectOptions> {
    let invalid = || {
        let fix = "use `postgres://[user[:password]@]host[:port]/database`";
        // Without the parser's error: it may quote the URL, and the URL may hold a password.
        Error::new(ErrorKind::Config, format!("the URL of the PostgreSQL database is not valid: {fix}"))
    };
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(invalid());
    }
    let options = PgConnectOptions::from_str(url).map_err(|_| invalid())?;
    Ok(if options.get_application_name().is_none() { options.application_name("smache") } else { options })
}

/// Where a database is, without user and password.
pub(super) fn server_name(options: &PgConnectOptions) -> String {
    let tls = if matches!(options.get_ssl_mode(), PgSslMode::Disable) { " without TLS" } else { "" };
    let place = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => options.get_host().to_owned(),
    };
    format!("{place}:{}/{}{tls}", options.get_port(), options.get_database().unwrap_or_default())
}

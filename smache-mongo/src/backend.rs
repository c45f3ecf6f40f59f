//! MongoDB as a backend: how to connect.

use std::{fmt, sync::Arc, time::Duration};

use mongodb::{
    Client, Database,
    error::ErrorKind as Driver,
    options::{ClientOptions, ConnectionString, HostInfo, ServerAddress, Tls},
};
use smache_core::{
    Backend, CacheStore, Error, ErrorKind, JobQueue, JobWrites, Namespace, Notifiers, Result, is_remote,
    support::limits::{CONNECT_TIMEOUT, SOURCE_TIMEOUT},
};

use crate::{MongoQueue, MongoStore, link::Link, notifier::Messages, schema};

/// Default number of dependants in a page of an invalidation.
const PAGE: usize = 1_000;

/// A MongoDB database as a backend: a store, a queue, or both. Clones share its connections.
///
/// It must be a replica set of MongoDB 6.0 or newer; one member is enough. `connect` creates the collections
/// `smache_entries`, `smache_state` and `smache_notifier` and their indexes where they are missing. Reads go to the
/// primary with read concern majority. A majority with its journal acknowledges each write, whatever read preference
/// and concerns the URL names.
#[derive(Clone)]
pub struct Mongo {
    link: Arc<Link>,
    notifiers: Arc<Notifiers>,
    page: i64,
}

impl Mongo {
    /// Connects to a database, checks that it can be used, and creates the indexes if they are missing.
    ///
    /// The URL is `mongodb://[user[:password]@]host[:port][,…]/database[?options]`, or `mongodb+srv://…`; it names the
    /// database.
    ///
    /// # Errors
    /// - [`ErrorKind::Config`]: the URL is not valid, names no database, or has `directConnection=true` for a set of
    ///   several
    /// - [`ErrorKind::Unavailable`], [`ErrorKind::Timeout`]: no server answers there, it is not the primary, or the
    ///   name of the set cannot be looked up
    /// - [`ErrorKind::Permission`]: the password is wrong, or the user lacks the role `readWrite` on the database
    /// - [`ErrorKind::WrongServer`]: no replica set, a router of a sharded cluster, too old, or collections of another
    ///   version
    pub async fn connect(url: impl AsRef<str>) -> Result<Self> {
        Self::builder(url).connect().await
    }

    /// Connects with options.
    pub fn builder(url: impl AsRef<str>) -> MongoBuilder {
        MongoBuilder {
            url: url.as_ref().to_owned(),
            timeout: SOURCE_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            journal: true,
            page: PAGE,
        }
    }

    /// Uses a database through a client that the application has already. The read preference and the concerns of the
    /// client are ignored.
    ///
    /// Its connection to a set of several members must not be direct (`directConnection`), which cannot be checked
    /// here: the driver then reads from that member, even after it has become a secondary.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn from_database(database: &Database) -> Result<Self> {
        let server = format!("the database `{}`", database.name());
        let link = Link::new(database.client(), database.name(), server, SOURCE_TIMEOUT, true);
        Self::from_link(link, PAGE).await
    }

    async fn from_link(link: Link, page: usize) -> Result<Self> {
        schema::prepare(&link).await?;
        let link = Arc::new(link);
        let page = i64::try_from(page).unwrap_or(i64::MAX).max(1);
        Ok(Self { notifiers: Notifiers::new(Arc::new(Messages(link.clone()))), link, page })
    }

    fn a_store(&self, namespace: &Namespace, jobs: JobWrites) -> MongoStore {
        MongoStore::new(self.link.clone(), namespace, jobs, self.notifiers.of(namespace), self.page)
    }

    #[cfg(test)]
    pub(crate) fn store_alone(&self, namespace: &Namespace) -> MongoStore {
        self.a_store(namespace, JobWrites::Reported)
    }

    fn a_queue(&self, namespace: &Namespace, joined: bool) -> Arc<dyn JobQueue> {
        Arc::new(MongoQueue::new(self.link.clone(), namespace, self.notifiers.of(namespace), joined))
    }
}

impl Backend for Mongo {
    fn store(&self, namespace: &Namespace) -> Result<Arc<dyn CacheStore>> {
        Ok(Arc::new(self.a_store(namespace, JobWrites::Reported)))
    }

    fn queue(&self, namespace: &Namespace) -> Result<Arc<dyn JobQueue>> {
        Ok(self.a_queue(namespace, false))
    }

    fn both(&self, namespace: &Namespace) -> Result<(Arc<dyn CacheStore>, Arc<dyn JobQueue>)> {
        Ok((Arc::new(self.a_store(namespace, JobWrites::SameStep)), self.a_queue(namespace, true)))
    }
}

impl fmt::Debug for Mongo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mongo").field("link", &self.link).field("page", &self.page).finish_non_exhaustive()
    }
}

/// Options of a connection to a database.
#[derive(Clone)]
#[must_use = "a builder does nothing until `connect`"]
pub struct MongoBuilder {
    url: String,
    timeout: Duration,
    connect_timeout: Duration,
    journal: bool,
    page: usize,
}

impl MongoBuilder {
    /// How long a command may take; 10 seconds by default. An update of many entries may take six times as long.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The bound of the name look-up, of the search for the primary, and of the connection, each; 5 seconds by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Whether every write waits for the journal; true by default.
    ///
    /// Without it the set's `writeConcernMajorityJournalDefault` counts, which is on by default. A set that
    /// acknowledges before its disks do may forget an invalidation when all members lose power, and go on confirming:
    /// start a new epoch then.
    pub fn journal(mut self, waits: bool) -> Self {
        self.journal = waits;
        self
    }

    /// How many entries one command of an invalidation marks, at least one; 1,000 by default.
    pub fn page(mut self, dependants: usize) -> Self {
        self.page = dependants.max(1);
        self
    }

    /// Connects and checks the server.
    ///
    /// # Errors
    /// As [`Mongo::connect`].
    pub async fn connect(self) -> Result<Mongo> {
        let mut options = self.options().await?;
        let Some(database) = options.default_database.clone().filter(|name| !name.is_empty()) else {
            let message = "the URL of the MongoDB database names no database: use `mongodb://host[:port]/database`";
            return Err(Error::new(ErrorKind::Config, message));
        };
        options.server_selection_timeout = Some(self.connect_timeout);
        options.connect_timeout = Some(self.connect_timeout);
        options.app_name.get_or_insert_with(|| "smache".to_owned());
        let server = server_name(&options);
        let in_the_clear = in_the_clear(&options);
        let unverified = unverified(&options);
        let direct = options.direct_connection == Some(true);
        let client = Client::with_options(options).map_err(|_| invalid())?;
        let link = Link {
            in_the_clear,
            unverified,
            direct,
            ..Link::new(&client, &database, server, self.timeout, self.journal)
        };
        Mongo::from_link(link, self.page).await
    }

    /// The options in the URL. A `mongodb+srv` URL needs a look-up.
    async fn options(&self) -> Result<ClientOptions> {
        let url = ConnectionString::parse(&self.url).map_err(|_| invalid())?;
        let name = match &url.host_info {
            HostInfo::DnsRecord(name) => name.clone(),
            _ => String::new(),
        };
        let unknown = || {
            let fix = "check the name, and that this machine can look names up";
            let message = format!("the members of the replica set `{name}` cannot be looked up: {fix}");
            Error::new(ErrorKind::Unavailable, message)
        };
        match tokio::time::timeout(self.connect_timeout, ClientOptions::parse(url)).await {
            Ok(Ok(options)) => Ok(options),
            Ok(Err(error)) if matches!(*error.kind, Driver::DnsResolve { .. } | Driver::Io(_)) => {
                Err(unknown().with_source(error))
            }
            Ok(Err(_)) => Err(invalid()),
            Err(_) => Err(unknown()),
        }
    }
}

impl fmt::Debug for MongoBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL is left out: it may hold a password.
        f.debug_struct("MongoBuilder")
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("journal", &self.journal)
            .field("page", &self.page)
            .finish_non_exhaustive()
    }
}

fn invalid() -> Error {
    let fix = "use `mongodb://[user[:password]@]host[:port][,…]/database[?options]`";
    // The parser's error is left out: it may quote the URL, and the URL may hold a password.
    Error::new(ErrorKind::Config, format!("the URL of the MongoDB database is not valid: {fix}"))
}

/// The first host on another machine, if the connection is not encrypted.
fn in_the_clear(options: &ClientOptions) -> Option<String> {
    if matches!(options.tls, Some(Tls::Enabled(_))) {
        return None;
    }
    remote(options)
}

/// The first host on another machine, if the connection is encrypted and no certificate is verified.
fn unverified(options: &ClientOptions) -> Option<String> {
    let Some(Tls::Enabled(tls)) = &options.tls else { return None };
    // `tlsInsecure` of a URL sets this as well. Without OpenSSL the driver has no option to skip names alone.
    if tls.allow_invalid_certificates == Some(true) { remote(options) } else { None }
}

fn remote(options: &ClientOptions) -> Option<String> {
    let hosts = options.hosts.iter().filter_map(|host| match host {
        ServerAddress::Tcp { host, .. } => Some(host),
        _ => None,
    });
    hosts.into_iter().find(|host| is_remote(host)).cloned()
}

/// Where a database is, without user and password.
fn server_name(options: &ClientOptions) -> String {
    let hosts: Vec<String> = options.hosts.iter().map(ServerAddress::to_string).collect();
    format!("{}/{}", hosts.join(","), options.default_database.as_deref().unwrap_or_default())
}

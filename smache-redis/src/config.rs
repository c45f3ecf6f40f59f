//! How to connect.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use redis::{Client, IntoConnectionInfo, ProtocolVersion};
use serde::{Serialize, de::DeserializeOwned};
use smache_core::{
    Backend, CacheStore, EntityType, Error, ErrorKind, JobQueue, JobWrites, Namespace, Result,
    support::limits::CONNECT_TIMEOUT,
};

use crate::{RedisQueue, RedisSource, RedisStore, connection::Link, keys::Keys};

/// A Redis server as a backend. Clones share one connection.
#[derive(Clone)]
pub struct Redis {
    link: Arc<Link>,
}

impl Redis {
    /// Connects to a server and checks that it can be used.
    ///
    /// The URL is `redis://[[user:]password@]host[:port][/db]`, `rediss://…` for TLS, or `unix:///path?db=…`.
    ///
    /// # Errors
    /// - [`ErrorKind::Config`]: the URL is not valid
    /// - [`ErrorKind::Unavailable`], [`ErrorKind::Timeout`]: no server answers there, or the server is starting
    /// - [`ErrorKind::Permission`]: the password or a permission is missing
    /// - [`ErrorKind::WrongServer`]: not a Redis, too old, a replica, in cluster mode, or one that evicts any key
    pub async fn connect(url: impl AsRef<str>) -> Result<Self> {
        Self::builder(url).connect().await
    }

    /// Connects with options.
    pub fn builder(url: impl AsRef<str>) -> RedisBuilder {
        RedisBuilder {
            url: url.as_ref().to_owned(),
            response_timeout: Duration::from_secs(2),
            connect_timeout: CONNECT_TIMEOUT,
        }
    }
}

impl Backend for Redis {
    fn store(&self, namespace: &Namespace) -> Result<Arc<dyn CacheStore>> {
        Ok(Arc::new(RedisStore::new(self.link.clone(), Keys::new(namespace), JobWrites::Reported)))
    }

    fn queue(&self, namespace: &Namespace) -> Result<Arc<dyn JobQueue>> {
        Ok(Arc::new(RedisQueue::new(self.link.clone(), namespace)))
    }

    fn both(&self, namespace: &Namespace) -> Result<(Arc<dyn CacheStore>, Arc<dyn JobQueue>)> {
        let store = RedisStore::new(self.link.clone(), Keys::new(namespace), JobWrites::SameStep);
        Ok((Arc::new(store), self.queue(namespace)?))
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("link", &self.link).finish()
    }
}

/// Options of a connection to a server.
#[derive(Clone)]
pub struct RedisBuilder {
    url: String,
    response_timeout: Duration,
    connect_timeout: Duration,
}

impl RedisBuilder {
    /// How long a command may take; 2 seconds by default.
    #[must_use]
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// The bound of each connection, later ones included; 5 seconds by default.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Connects and checks the server.
    ///
    /// # Errors
    /// As [`Redis::connect`].
    pub async fn connect(self) -> Result<Redis> {
        // The parser's error is left out: it may quote the URL, and the URL may hold a password.
        let invalid = || {
            let fix = "use `redis://[[user:]password@]host[:port][/db]`, `rediss://…` or `unix:///path`";
            Error::new(ErrorKind::Config, format!("the URL of the Redis server is not valid: {fix}"))
        };
        let info = self.url.as_str().into_connection_info().map_err(|_| invalid())?;
        // Only this protocol reports a lost connection at once, and every supported server speaks it.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings)).map_err(|_| invalid())?;
        let link = Arc::new(Link::new(client, self.response_timeout, self.connect_timeout));
        link.live().await?;
        Ok(Redis { link })
    }
}

impl fmt::Debug for RedisBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.url.as_str().into_connection_info().map(|info| info.addr().to_string());
        f.debug_struct("RedisBuilder")
            .field("address", &address.unwrap_or_else(|_| "not valid".to_owned()))
            .field("response_timeout", &self.response_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .finish()
    }
}

/// Default number of changes in the history of a table.
const DEFAULT_HISTORY: usize = 100_000;

/// The options of a [`RedisSource`].
#[must_use = "a builder does nothing until `build`"]
pub struct RedisSourceBuilder<T> {
    pub(crate) link: Arc<Link>,
    pub(crate) table: String,
    pub(crate) history: usize,
    entity: PhantomData<fn() -> T>,
}

impl<T: EntityType + Serialize + DeserializeOwned> RedisSourceBuilder<T> {
    pub(crate) fn new(redis: &Redis) -> Self {
        Self {
            link: Arc::clone(&redis.link),
            table: T::SOURCE.to_owned(),
            history: DEFAULT_HISTORY,
            entity: PhantomData,
        }
    }

    /// The name of the table; by default that of the source. The prefix of its keys is `{table:<name>}:`.
    pub fn table(mut self, name: impl Into<String>) -> Self {
        self.table = name.into();
        self
    }

    /// How many changes the history holds, at least one; 100,000 by default. All programs must use the same number,
    /// since each write trims the history to the writer's.
    pub fn history(mut self, changes: usize) -> Self {
        self.history = changes;
        self
    }

    /// The source. Does not connect.
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: the name of the source or of the table is not valid, or that of the table is longer than
    /// 122 bytes.
    pub fn build(self) -> Result<RedisSource<T>> {
        RedisSource::from_builder(self)
    }
}

impl<T> fmt::Debug for RedisSourceBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSourceBuilder")
            .field("link", &self.link)
            .field("table", &self.table)
            .field("history", &self.history)
            .finish()
    }
}

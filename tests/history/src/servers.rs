//! The places of a run: a file, or a private server with proxies in front of it.

use std::{ops::Deref, path::Path, time::Duration};

use redis::AsyncConnectionConfig;
use smache_testkit::servers::{MongoServer, PostgresServer, RedisServer, ServerProcess};

use crate::{data::Trouble, proxy::Proxy};

/// How long a command of a fault may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What holds results and jobs, or data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Within the only process.
    Memory,
    /// The key-value store of the example, which the only process opens.
    Kv,
    Sqlite,
    Redis,
    Postgres,
    Mongo,
}

impl Kind {
    pub(crate) const ALL: [(&str, Self); 6] = [
        ("memory", Self::Memory),
        ("kv", Self::Kv),
        ("sqlite", Self::Sqlite),
        ("redis", Self::Redis),
        ("postgres", Self::Postgres),
        ("mongo", Self::Mongo),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// Whether only one process can have the store.
    pub(crate) fn is_of_one_process(self) -> bool {
        matches!(self, Self::Memory | Self::Kv)
    }

    /// The data that go with a store, unless others are chosen.
    pub(crate) fn data(self) -> Self {
        if self.is_of_one_process() { Self::Sqlite } else { self }
    }
}

/// A place of a run.
#[derive(Debug)]
pub(crate) struct Place {
    server: Option<Server>,
    url: String,
    /// Processes use one or the other, so that the network can fail for some of them.
    pub(crate) proxies: Vec<Proxy>,
}

#[derive(Debug)]
enum Server {
    Redis(RedisServer),
    Postgres(PostgresServer),
    Mongo(MongoServer),
}

impl Server {
    fn process(&self) -> &ServerProcess {
        match self {
            Self::Redis(server) => server.deref(),
            Self::Postgres(server) => server.deref(),
            Self::Mongo(server) => server.deref(),
        }
    }
}

impl Place {
    /// Starts it, with that many proxies. A file is in the folder.
    pub(crate) async fn start(kind: Kind, name: &str, folder: &Path, proxies: usize) -> Result<Self, Trouble> {
        let file = folder.join(name).display().to_string();
        let (server, url) = match kind {
            Kind::Memory => (None, "memory:".to_owned()),
            Kind::Kv => (None, format!("log:{file}")),
            Kind::Sqlite => (None, format!("sqlite:{file}")),
            Kind::Redis => {
                let server = RedisServer::builder().keep_data().start().await;
                let url = server.url();
                (Some(Server::Redis(server)), url)
            }
            Kind::Postgres => {
                let server = PostgresServer::builder().config("max_connections", "300").start().await;
                let url = server.url();
                (Some(Server::Postgres(server)), format!("{url}?sslmode=disable"))
            }
            Kind::Mongo => {
                let server = MongoServer::start().await;
                let url = server.uri().replacen("/?", &format!("/{name}?"), 1);
                (Some(Server::Mongo(server)), url)
            }
        };
        let mut place = Self { server, url, proxies: Vec::new() };
        if let Some(port) = place.process().map(ServerProcess::port) {
            for _ in 0..proxies {
                place.proxies.push(Proxy::start(port).await?);
            }
        }
        Ok(place)
    }

    /// A store that is there already: nothing happens to it but what its processes do.
    pub(crate) fn given(url: &str) -> Self {
        Self { server: None, url: url.to_owned(), proxies: Vec::new() }
    }

    /// Its URL, past the proxies.
    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// Its URL by way of one of its proxies.
    pub(crate) fn url_by(&self, proxy: usize) -> String {
        match (self.process(), self.proxies.get(proxy % self.proxies.len().max(1))) {
            (Some(server), Some(proxy)) => {
                self.url.replacen(&format!("127.0.0.1:{}", server.port()), &format!("127.0.0.1:{}", proxy.port), 1)
            }
            _ => self.url(),
        }
    }

    /// The server, if it is a private one.
    pub(crate) fn process(&self) -> Option<&ServerProcess> {
        self.server.as_ref().map(Server::process)
    }

    /// Removes everything that is in it; none of its processes is asked.
    pub(crate) async fn empty(&self) -> Result<(), Trouble> {
        match &self.server {
            Some(Server::Redis(_)) => self.redis(&["FLUSHALL"]).await,
            Some(server) => {
                server.process().kill().await;
                server.process().wipe().await;
                server.process().restart().await;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Leaves no room for writes, or lets them in again. Only Redis can do that at any moment.
    pub(crate) async fn fill(&self, full: bool) -> Result<(), Trouble> {
        self.redis(&["CONFIG", "SET", "maxmemory", if full { "1" } else { "0" }]).await
    }

    async fn redis(&self, words: &[&str]) -> Result<(), Trouble> {
        let Some(Server::Redis(server)) = &self.server else { return Ok(()) };
        // The client waits half a second by default, and a server beside other work may take longer.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
        let client = redis::Client::open(server.url())?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        Ok(command.exec_async(&mut connection).await?)
    }
}

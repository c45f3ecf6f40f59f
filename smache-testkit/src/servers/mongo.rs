//! A private MongoDB: SecantusDB, which speaks its protocol and keeps a replica set's history of changes.

use std::ffi::OsString;
use std::fs;
use std::net::TcpStream;
use std::ops::Deref;
use std::path::Path;

use super::process::{Recipe, ServerProcess, Started, find_program};

/// A MongoDB of one test's own. Derefs to [`ServerProcess`], which can kill, restart and pause it. What it has
/// acknowledged it keeps over a restart, even after it was killed; each write waits for the disk for that.
#[derive(Debug)]
pub struct MongoServer {
    process: ServerProcess,
}

impl MongoServer {
    /// Starts one with the default options, and waits until it listens.
    ///
    /// # Panics
    /// See [`MongoServerBuilder::start`].
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// For one with options.
    #[must_use]
    pub fn builder() -> MongoServerBuilder {
        MongoServerBuilder::default()
    }

    /// `mongodb://127.0.0.1:PORT/?directConnection=true`.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port())
    }
}

impl Deref for MongoServer {
    type Target = ServerProcess;

    fn deref(&self) -> &ServerProcess {
        &self.process
    }
}

/// Options of a [`MongoServer`].
#[derive(Debug, Default)]
pub struct MongoServerBuilder {
    port: Option<u16>,
    guarded: bool,
    arguments: Vec<OsString>,
}

impl MongoServerBuilder {
    /// A fixed port instead of a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Forgets changes that are older, so that a resume from before fails. It tidies up at writes, not by the clock.
    #[must_use]
    pub fn oplog_retention_seconds(self, seconds: u64) -> Self {
        self.argument("--oplog-retention-seconds").argument(seconds.to_string())
    }

    /// Forgets the oldest changes beyond this number, so that a resume from before fails. It tidies up now and then: some
    /// hundreds more may be there.
    #[must_use]
    pub fn oplog_max_entries(self, entries: u64) -> Self {
        self.argument("--oplog-max-entries").argument(entries.to_string())
    }

    /// Asks for passwords from its second start on: in the first one the users are made.
    #[must_use]
    pub fn guarded_once_restarted(mut self) -> Self {
        self.guarded = true;
        self
    }

    /// Any other argument of its command line.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Starts it and waits until it listens.
    ///
    /// # Panics
    /// If there is no `secantusd-py` (named by `SMACHE_SECANTUSD`, else on the `PATH`), or it does not listen in time; the
    /// message ends with its log.
    pub async fn start(self) -> MongoServer {
        let Self { port, guarded, arguments: extra } = self;
        let recipe = Recipe {
            name: "secantusd-py",
            program: find_program("SMACHE_SECANTUSD", "secantusd-py"),
            port,
            arguments: Box::new(move |port, data| {
                let began_before = fs::read_dir(data).is_ok_and(|mut files| files.next().is_some());
                let mut all = arguments(port, data, &extra);
                all.extend((guarded && began_before).then(|| "--auth".into()));
                all
            }),
            ready: Box::new(ready),
            stop: "TERM",
            // It keeps what it has acknowledged in either case.
            may_be_killed: true,
        };
        MongoServer { process: ServerProcess::start(recipe).await }
    }
}

fn arguments(port: u16, data: &Path, extra: &[OsString]) -> Vec<OsString> {
    // An empty file of our own keeps it from reading one in the home folder.
    let config = data.with_file_name("secantusd.toml");
    if let Err(error) = fs::write(&config, "") {
        panic!("cannot write {}: {error}", config.display());
    }
    let mut all: Vec<OsString> = vec!["--host".into(), "127.0.0.1".into(), "--port".into(), port.to_string().into()];
    all.extend(["--config".into(), config.into(), "--storage-path".into(), data.into()]);
    // Without it a killed server loses what it acknowledged in its last fraction of a second, and gives the places of the
    // lost changes in its history to new ones: a stream that is resumed from a lost change then skips those in silence.
    all.push("--sync-on-commit".into());
    all.extend(extra.iter().cloned());
    all
}

/// Its own log says that it listens, which no other server on the port can fake, and the port takes connections.
fn ready(started: &Started<'_>) -> Result<(), String> {
    if !started.log.contains(&format!("listening on 127.0.0.1:{}", started.port)) {
        return Err("it does not listen yet".to_owned());
    }
    TcpStream::connect(("127.0.0.1", started.port)).map(drop).map_err(|error| error.to_string())
}

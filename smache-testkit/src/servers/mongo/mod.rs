//! A private MongoDB: a set of one, a set of three, or a server without a set.

mod mongod;
mod set;
mod stand_in;
mod wire;

use std::ffi::OsString;
use std::ops::Deref;

pub use self::set::MongoSet;
use super::process::ServerProcess;

/// A private MongoDB for one test: a replica set of one member. Derefs to [`ServerProcess`], which can kill, restart,
/// pause and wipe it. It keeps every write that it acknowledged after the journal over a restart, even after it was
/// killed.
///
/// One that is wiped and restarted is another set, with the name and the address of the former one.
#[derive(Debug)]
pub struct MongoServer {
    process: ServerProcess,
}

impl MongoServer {
    /// Starts one with the default options, and waits until it is the primary.
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
    kind: Kind,
    arguments: Vec<OsString>,
}

/// How clients log in, and whether the server is a set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Open,
    Guarded,
    GuardedOnceRestarted,
    Standalone,
}

impl MongoServerBuilder {
    /// A fixed port instead of a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Forgets all but the last MiB of its history, so that a resume from before fails. It tidies up once a second,
    /// while there are writes. Needs MongoDB itself.
    #[must_use]
    pub fn short_history(self) -> Self {
        self.argument("--oplogSize").argument("1").argument("--syncdelay").argument("1")
    }

    /// Takes commands that are for tests, such as `configureFailPoint`.
    #[must_use]
    pub fn test_commands(self) -> Self {
        if mongod::program().is_none() {
            return self.argument("--enable-test-commands");
        }
        self.argument("--setParameter").argument("enableTestCommands=1")
    }

    /// Asks for passwords, and has no users: the first one can be made without, from this machine.
    #[must_use]
    pub fn guarded(mut self) -> Self {
        self.kind = Kind::Guarded;
        self
    }

    /// Asks for passwords from its second start on: in the first one the users are made.
    #[must_use]
    pub fn guarded_once_restarted(mut self) -> Self {
        self.kind = Kind::GuardedOnceRestarted;
        self
    }

    /// A server that is in no replica set.
    #[must_use]
    pub fn standalone(mut self) -> Self {
        self.kind = Kind::Standalone;
        self
    }

    /// Any other argument of its command line.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Starts it and waits until it is the primary of its set of one.
    ///
    /// The program is the `mongod` that `SMACHE_MONGOD` names, or that is on the `PATH`. Where there is none and
    /// `SMACHE_SECANTUSD` names a `secantusd-py`, that one takes its place: it has no users with rights in the database
    /// `admin`, no [short history](Self::short_history), and is no [`MongoSet`].
    ///
    /// # Panics
    /// If there is neither, or it does not answer in time; the message ends with its log.
    pub async fn start(self) -> MongoServer {
        let recipe = match mongod::program() {
            Some(program) => mongod::recipe(program, self),
            None => stand_in::recipe(self),
        };
        MongoServer { process: ServerProcess::start(recipe).await }
    }
}

//! How a server is started, and when it is ready.

use std::{
    ffi::OsString,
    fmt,
    net::TcpStream,
    path::{Path, PathBuf},
};

use super::process::{ServerProcess, search_program};

/// A process that was started, for the check that tells whether it is ready.
#[derive(Debug)]
#[non_exhaustive]
pub struct Started<'a> {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Its process id.
    pub pid: u32,
    /// Its output since its start.
    pub log: &'a str,
}

/// The arguments of a start, given the port and the folder of the data (there, and perhaps not empty).
pub(super) type Arguments = Box<dyn Fn(u16, &Path) -> Vec<OsString> + Send>;

/// Whether the server answers, and is this very process; else why not.
pub(super) type Ready = Box<dyn Fn(&Started<'_>) -> Result<(), String> + Send>;

/// How a kind of server is started.
pub(super) struct Recipe {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) port: Option<u16>,
    pub(super) arguments: Arguments,
    pub(super) ready: Ready,
    /// The signal that ends it in an orderly way.
    pub(super) stop: &'static str,
    /// Whether it is killed when it does not end in time, instead of failing the test.
    pub(super) may_be_killed: bool,
}

/// How a private server of another kind is started: [`ServerProcess::builder`].
///
/// ```no_run
/// # async fn example() {
/// use std::{ffi::OsString, path::Path};
///
/// use smache_testkit::servers::{ServerProcess, free_port};
///
/// let between_members = free_port();
/// let etcd = ServerProcess::builder("etcd")
///     .named_by("ETCD_BIN") // a variable with the path of the program; else it is looked up on the PATH
///     .arguments(move |port, data: &Path| {
///         let peers = format!("http://127.0.0.1:{between_members}");
///         let clients = format!("http://127.0.0.1:{port}");
///         let mut all: Vec<OsString> = vec!["--data-dir".into(), data.into()];
///         for (flag, urls) in [("client", &clients), ("peer", &peers)] {
///             all.push(format!("--listen-{flag}-urls={urls}").into());
///         }
///         all.push(format!("--advertise-client-urls={clients}").into());
///         all
///     })
///     .ready(|started| match started.log.contains("ready to serve client requests") {
///         true => Ok(()),
///         false => Err("it does not serve yet".to_owned()),
///     })
///     .start()
///     .await;
/// // … connect to 127.0.0.1 at etcd.port() …
/// etcd.kill().await; // as by a power cut
/// etcd.restart().await; // the same port, the same data
/// # }
/// ```
pub struct ServerBuilder {
    program: String,
    variable: Option<String>,
    port: Option<u16>,
    arguments: Arguments,
    ready: Ready,
    stop: &'static str,
}

impl ServerBuilder {
    pub(super) fn new(program: String) -> Self {
        Self {
            program,
            variable: None,
            port: None,
            arguments: Box::new(|_, _| Vec::new()),
            ready: Box::new(takes_connections),
            stop: "TERM",
        }
    }

    /// A variable that may name the path of the program.
    #[must_use]
    pub fn named_by(mut self, variable: impl Into<String>) -> Self {
        self.variable = Some(variable.into());
        self
    }

    /// A fixed port instead of a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// The arguments of the program, given its port and the folder for its data. The folder exists, and is empty at
    /// the first start and after [`ServerProcess::wipe`]; the current folder of the process is the one above it. The
    /// function may prepare the data.
    #[must_use]
    pub fn arguments<I>(mut self, arguments: impl Fn(u16, &Path) -> I + Send + 'static) -> Self
    where
        I: IntoIterator<Item: Into<OsString>>,
    {
        self.arguments = Box::new(move |port, data| arguments(port, data).into_iter().map(Into::into).collect());
        self
    }

    /// The check that tells whether a start is complete, or why it is not yet. It runs every few milliseconds for up to
    /// 30 s, on a thread that it may block. By default the port takes connections. Another process may have taken the
    /// port in between: a check that compares the process id, or reads the log, finds that.
    #[must_use]
    pub fn ready(mut self, ready: impl Fn(&Started<'_>) -> Result<(), String> + Send + 'static) -> Self {
        self.ready = Box::new(ready);
        self
    }

    /// The signal that ends it in an orderly way, instead of `"TERM"`.
    #[must_use]
    pub fn stop_signal(mut self, name: &'static str) -> Self {
        self.stop = name;
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// If the program is missing, ends, or is not ready in time; the message ends with its log.
    pub async fn start(self) -> ServerProcess {
        let Self { program: name, variable, port, arguments, ready, stop } = self;
        let variable = variable.unwrap_or_default();
        let Some(program) = search_program(&variable, &name) else {
            match variable.as_str() {
                "" => panic!("{name} is not on the PATH: install it"),
                _ => panic!("{name} is neither named by {variable} nor on the PATH: install it, or set {variable}"),
            }
        };
        ServerProcess::start(Recipe { name, program, port, arguments, ready, stop, may_be_killed: false }).await
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("program", &self.program)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// Whether its port takes connections.
pub(super) fn takes_connections(started: &Started<'_>) -> Result<(), String> {
    TcpStream::connect(("127.0.0.1", started.port)).map(drop).map_err(|error| error.to_string())
}

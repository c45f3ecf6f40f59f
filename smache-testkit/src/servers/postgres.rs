//! A private PostgreSQL.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::process::{ServerProcess, search_program};
use super::recipe::{Recipe, Started, takes_connections};

/// The line of the log that says that clients can connect.
const READY: &str = "database system is ready to accept connections";

/// The same of a standby; older versions write it without a hyphen.
const STANDBY_READY: &str = "database system is ready to accept read";

/// The owner of the database, with all rights in it.
const USER: &str = "smache";

/// A private PostgreSQL for one test. Derefs to [`ServerProcess`], which can kill and restart it: the data stays.
/// Paused, it takes no new connections, but the open ones go on.
///
/// It cannot run as root, so that root starts it as the user `postgres`, which needs access to the temporary folder.
pub struct PostgresServer {
    process: ServerProcess,
    password: Option<String>,
}

impl PostgresServer {
    /// Starts one with an empty database, without a password, and waits until it answers.
    ///
    /// # Panics
    /// See [`PostgresServerBuilder::start`].
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// For one with options.
    #[must_use]
    pub fn builder() -> PostgresServerBuilder {
        PostgresServerBuilder::default()
    }

    /// `postgres://smache@127.0.0.1:PORT/postgres`, with the password if it has one.
    #[must_use]
    pub fn url(&self) -> String {
        let password = self.password.as_deref().map_or_else(String::new, |password| format!(":{password}"));
        format!("postgres://{USER}{password}@127.0.0.1:{}/postgres", self.port())
    }

    /// Starts a hot standby that follows this one: it can be read, and nothing can be written to it.
    ///
    /// # Panics
    /// As [`PostgresServerBuilder::start`]; also if there is no `pg_basebackup` beside `postgres`.
    pub async fn start_standby(&self) -> Self {
        let primary = self.port();
        let password = self.password.clone();
        let way = Way::to_be_allowed();
        let postgres = find_postgres();
        let login = password.clone();
        let recipe = Recipe {
            name: "postgres (standby)".to_owned(),
            program: way.program(&postgres),
            port: None,
            arguments: Box::new(move |port, data| {
                copy_data(&way, &postgres, data, primary, login.as_deref());
                arguments(&way, &postgres, port, data, false, &[])
            }),
            ready: Box::new(|started| ready(started, STANDBY_READY)),
            stop: "INT",
            may_be_killed: false,
        };
        Self { process: ServerProcess::start(recipe).await, password }
    }
}

impl Deref for PostgresServer {
    type Target = ServerProcess;

    fn deref(&self) -> &ServerProcess {
        &self.process
    }
}

impl fmt::Debug for PostgresServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresServer").field("process", &self.process).finish_non_exhaustive()
    }
}

/// Options of a [`PostgresServer`].
#[derive(Default)]
pub struct PostgresServerBuilder {
    password: Option<String>,
    port: Option<u16>,
    sync_to_disk: bool,
    settings: Vec<(String, String)>,
}

impl PostgresServerBuilder {
    /// Asks clients for a password of letters and digits.
    ///
    /// # Panics
    /// With other characters, which a URL would have to escape.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        let password = password.into();
        assert!(password.chars().all(|c| c.is_ascii_alphanumeric()), "a password of letters and digits, please");
        self.password = Some(password);
        self
    }

    /// A fixed port instead of a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Waits for the disk at every commit. Without it data survives the end of the server, but not of the machine.
    #[must_use]
    pub fn sync_to_disk(mut self) -> Self {
        self.sync_to_disk = true;
        self
    }

    /// Any other setting, as in `postgresql.conf`. The last of several wins.
    #[must_use]
    pub fn config(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes its data, starts it and waits until it answers.
    ///
    /// # Panics
    /// If there is no `postgres` (named by `SMACHE_POSTGRES`, else on the `PATH`, else the newest in
    /// `/usr/lib/postgresql`) with `initdb` beside it, or it does not answer in time; the message ends with its log.
    pub async fn start(self) -> PostgresServer {
        let Self { password, port, sync_to_disk, settings } = self;
        let postgres = find_postgres();
        let login = password.clone();
        let way = Way::to_be_allowed();
        let recipe = Recipe {
            name: "postgres".to_owned(),
            program: way.program(&postgres),
            port,
            arguments: Box::new(move |port, data| {
                make_data(&way, &postgres, data, login.as_deref());
                arguments(&way, &postgres, port, data, sync_to_disk, &settings)
            }),
            ready: Box::new(|started| ready(started, READY)),
            // At once: a TERM would wait for the clients to go.
            stop: "INT",
            may_be_killed: false,
        };
        PostgresServer { process: ServerProcess::start(recipe).await, password }
    }
}

impl fmt::Debug for PostgresServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresServerBuilder")
            .field("port", &self.port)
            .field("sync_to_disk", &self.sync_to_disk)
            .finish_non_exhaustive()
    }
}

/// As which user its programs run.
enum Way {
    AsOneself,
    AsPostgres,
}

impl Way {
    fn to_be_allowed() -> Self {
        let id = Command::new("id").arg("-u").output().map(|output| output.stdout).unwrap_or_default();
        if id.trim_ascii() == b"0" { Self::AsPostgres } else { Self::AsOneself }
    }

    fn program(&self, program: &Path) -> PathBuf {
        match self {
            Self::AsOneself => program.to_owned(),
            Self::AsPostgres => "setpriv".into(),
        }
    }

    /// Lets it own a folder, and walk there.
    fn give(&self, data: &Path) {
        if matches!(self, Self::AsPostgres) {
            let folder = data.parent().unwrap_or(data);
            run(Command::new("chmod").arg("711").arg(folder));
            run(Command::new("chown").arg("postgres").arg(data));
            run(Command::new("chmod").arg("700").arg(data));
        }
    }

    /// The words before a program and its arguments, which switch the user.
    fn prefix(&self, program: &Path) -> Vec<OsString> {
        match self {
            Self::AsOneself => Vec::new(),
            Self::AsPostgres => {
                // A change of the user takes the tether off: it is put on again.
                let words = ["--pdeathsig", "KILL", "--reuid=postgres", "--regid=postgres", "--init-groups"];
                words.into_iter().map(OsString::from).chain([program.into()]).collect()
            }
        }
    }
}

fn find_postgres() -> PathBuf {
    let installed = || {
        let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
        let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
        let newest = versions.filter_map(|entry| Some(entry.ok()?.path())).max_by_key(version)?;
        Some(newest.join("bin/postgres")).filter(|file| file.is_file())
    };
    // Its other programs are beside the program itself, and not always beside a link to it.
    let found = search_program("SMACHE_POSTGRES", "postgres").or_else(installed);
    let Some(file) = found else {
        panic!(
            "postgres is neither named by SMACHE_POSTGRES nor installed: run the tests by `scripts/test` or under `scripts/with-servers`"
        )
    };
    fs::canonicalize(&file).unwrap_or(file)
}

/// Makes the data of a server that starts for the first time.
fn make_data(way: &Way, postgres: &Path, data: &Path, password: Option<&str>) {
    if data.join("PG_VERSION").exists() {
        return;
    }
    way.give(data);
    let initdb = postgres.with_file_name("initdb");
    let mut command = Command::new(way.program(&initdb));
    command.args(way.prefix(&initdb)).arg("-D").arg(data);
    command.args(["-U", USER, "--encoding=UTF8", "--locale=C", "--no-sync"]);
    match password {
        None => {
            command.arg("--auth=trust");
        }
        Some(password) => {
            let file = data.with_file_name("password");
            if let Err(error) = fs::write(&file, password) {
                panic!("cannot write {}: {error}", file.display());
            }
            if matches!(way, Way::AsPostgres) {
                run(Command::new("chown").arg("postgres").arg(&file));
            }
            command.arg("--auth=scram-sha-256").arg("--pwfile").arg(file);
        }
    }
    run(&mut command);
}

/// Copies the data of a running server for a standby of it that starts for the first time.
fn copy_data(way: &Way, postgres: &Path, data: &Path, primary: u16, password: Option<&str>) {
    if data.join("PG_VERSION").exists() {
        return;
    }
    way.give(data);
    let copy = postgres.with_file_name("pg_basebackup");
    let mut command = Command::new(way.program(&copy));
    command.args(way.prefix(&copy)).arg("-D").arg(data).args(["-h", "127.0.0.1", "-U", USER]);
    command.args(["-p", &primary.to_string(), "--write-recovery-conf", "--checkpoint=fast", "--no-sync"]);
    // A role of the machine has no say here.
    command.env_remove("PGPASSFILE").env("PGPASSWORD", password.unwrap_or_default());
    run(&mut command);
}

fn run(command: &mut Command) {
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!(
            "{:?} failed (can its user walk to the folder?):\n{}{}",
            command.get_program(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => panic!("cannot run {:?}: {error}", command.get_program()),
    }
}

fn arguments(
    way: &Way,
    postgres: &Path,
    port: u16,
    data: &Path,
    sync_to_disk: bool,
    settings: &[(String, String)],
) -> Vec<OsString> {
    let mut all = way.prefix(postgres);
    all.extend(["-D".into(), data.into(), "-p".into(), port.to_string().into()]);
    let mut set = |name: &str, value: &str| all.extend(["-c".into(), format!("{name}={value}").into()]);
    set("listen_addresses", "127.0.0.1");
    set("unix_socket_directories", &data.display().to_string());
    set("fsync", if sync_to_disk { "on" } else { "off" });
    set("shared_buffers", "32MB");
    for (name, value) in settings {
        set(name, value);
    }
    all
}

/// Its own log says that it is ready, which no other server on the port can fake, and the port takes connections.
fn ready(started: &Started<'_>, line: &str) -> Result<(), String> {
    if !started.log.contains(line) {
        return Err("it is not ready yet".to_owned());
    }
    takes_connections(started)
}

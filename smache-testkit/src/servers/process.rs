//! A server process with its folder and port.
//!
//! Everything here blocks, and runs on tokio's blocking threads: waiting there also holds back a paused clock, which
//! would otherwise run through every bound while the server starts.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::ports::{release_port, reserve_port};
use super::recipe::{Recipe, ServerBuilder, Started};

const START_BOUND: Duration = Duration::from_secs(30);
const STOP_BOUND: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
const START_TRIES: u32 = 10;
const RESTART_PAUSE: Duration = Duration::from_millis(50);

/// A running (or killed) private server, in the state that the test brought it to.
///
/// Its port and its folder stay the same for life. It is killed when dropped, and its folder removed.
pub struct ServerProcess {
    port: u16,
    name: String,
    state: Arc<Mutex<State>>,
}

struct State {
    recipe: Recipe,
    folder: TempDir,
    port: u16,
    child: Option<Child>,
    log: PathBuf,
}

impl ServerProcess {
    /// For a server of another kind, by the name of its program.
    #[must_use]
    pub fn builder(program: impl Into<String>) -> ServerBuilder {
        ServerBuilder::new(program.into())
    }

    pub(super) async fn start(recipe: Recipe) -> Self {
        let state = blocking(move || State::first_start(recipe)).await;
        Self { port: state.port, name: state.recipe.name.clone(), state: Arc::new(Mutex::new(state)) }
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        lock(&self.state).child.as_ref().map(Child::id)
    }

    /// The output of the server since its last start.
    #[must_use]
    pub fn log(&self) -> String {
        lock(&self.state).read_log()
    }

    /// Kills it and the processes that it has started (SIGKILL), as a crash does, and waits until they are gone.
    /// Nothing happens if it is down.
    pub async fn kill(&self) {
        self.with(State::kill).await;
    }

    /// Ends it in an orderly way, and waits until it is gone. Nothing happens if it is down.
    ///
    /// # Panics
    /// If it does not end in time; a [`MongoServer`](super::MongoServer) is killed then.
    pub async fn stop(&self) {
        self.with(State::stop).await;
    }

    /// Starts it on the same port and folder, and waits until it answers. If it runs, it is stopped first.
    ///
    /// # Panics
    /// If it does not end or start in time.
    pub async fn restart(&self) {
        self.with(State::restart).await;
    }

    /// Freezes it (SIGSTOP): connections stay open without an answer.
    ///
    /// # Panics
    /// If it does not run.
    pub async fn pause(&self) {
        self.with(|state| state.signal("STOP")).await;
    }

    /// Lets it go on (SIGCONT) after [`pause`](Self::pause).
    ///
    /// # Panics
    /// If it does not run.
    pub async fn resume(&self) {
        self.with(|state| state.signal("CONT")).await;
    }

    /// Removes its data, so that it starts empty.
    ///
    /// # Panics
    /// If it runs: [`stop`](Self::stop) or [`kill`](Self::kill) it first.
    pub async fn wipe(&self) {
        self.with(State::wipe).await;
    }

    /// Copies its data, as a backup does, for [`put_back`](Self::put_back).
    ///
    /// # Panics
    /// If it runs: a copy would be of no one moment.
    pub async fn back_up(&self) {
        self.with(|state| state.copy("data", "backup")).await;
    }

    /// Replaces its data by the copy that [`back_up`](Self::back_up) has made.
    ///
    /// # Panics
    /// If it runs, or there is no copy.
    pub async fn put_back(&self) {
        self.with(|state| {
            state.wipe();
            state.copy("backup", "data");
        })
        .await;
    }

    /// Runs a step to its end, even if the caller stops waiting.
    async fn with(&self, step: impl FnOnce(&mut State) + Send + 'static) {
        let state = Arc::clone(&self.state);
        blocking(move || step(&mut lock(&state))).await;
    }
}

impl fmt::Debug for ServerProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerProcess").field("name", &self.name).field("port", &self.port).finish_non_exhaustive()
    }
}

impl State {
    fn first_start(recipe: Recipe) -> Self {
        let folder = tempfile::Builder::new().prefix("smache-server-").tempdir();
        let folder = folder.unwrap_or_else(|error| panic!("no temporary folder for {}: {error}", recipe.name));
        let port = recipe.port.unwrap_or(0);
        let log = folder.path().join("log");
        let mut state = Self { recipe, folder, port, child: None, log };
        let mut trouble = String::new();
        for _ in 0..START_TRIES {
            if state.recipe.port.is_none() {
                state.port = reserve_port();
            }
            match state.try_start() {
                Ok(()) => return state,
                Err(why) => trouble = why,
            }
            // Another process may have taken the port since; a port that the test has chosen is tried once.
            if state.recipe.port.is_some() {
                break;
            }
            release_port(state.port);
            // The next try is a first start too.
            state.wipe();
        }
        panic!("{trouble}");
    }

    /// On failure no process stays.
    fn try_start(&mut self) -> Result<(), String> {
        let name = self.recipe.name.clone();
        let outcome =
            self.spawn().map_err(|error| format!("{name}: cannot start {}: {error}", self.recipe.program.display()));
        let outcome = outcome.and_then(|()| self.wait_until_ready());
        if outcome.is_err() {
            self.kill();
        }
        outcome
    }

    fn spawn(&mut self) -> io::Result<()> {
        let data = self.folder.path().join("data");
        fs::create_dir_all(&data)?;
        let log = File::create(&self.log)?;
        let mut command = tethered(&self.recipe.program);
        // Servers look for configuration in the current folder: let it be a private one.
        command.args((self.recipe.arguments)(self.port, &data)).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(spawn_from_lasting_thread(command)?);
        Ok(())
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START_BOUND;
        loop {
            let log = self.read_log();
            let Some(child) = self.child.as_mut() else { return Err(format!("{} is not running", self.recipe.name)) };
            let ended = child.try_wait().map_err(|error| format!("cannot watch {}: {error}", self.recipe.name))?;
            if let Some(status) = ended {
                return Err(format!(
                    "{} ended while starting on port {} ({status}); its log:\n{log}",
                    self.recipe.name, self.port
                ));
            }
            let started = Started { port: self.port, pid: child.id(), log: &log };
            match (self.recipe.ready)(&started) {
                Ok(()) => return Ok(()),
                Err(why) if Instant::now() > deadline => {
                    let name = self.recipe.name.clone();
                    return Err(format!(
                        "{name} did not answer on port {} within {START_BOUND:?}: {why}; its log:\n{log}",
                        self.port
                    ));
                }
                Err(_) => thread::sleep(POLL),
            }
        }
    }

    fn restart(&mut self) {
        self.stop();
        // The port is free for certain only once the kernel has let go of the last socket: hence more than one try.
        let mut trouble = String::new();
        for _ in 0..START_TRIES {
            match self.try_start() {
                Ok(()) => return,
                Err(why) => trouble = why,
            }
            thread::sleep(RESTART_PAUSE);
        }
        panic!("{trouble}");
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Stopped, it starts no more processes, and keeps the ids of its children since it cannot wait for them.
            signal("STOP", &[child.id()]);
            let helpers = children(child.id());
            signal("KILL", &helpers);
            // Fails only for a child that has ended and been waited for.
            let _ = child.kill();
            let _ = child.wait();
            wait_for_end(&helpers, &self.recipe.name);
        }
    }

    fn stop(&mut self) {
        if self.child.is_none() {
            return;
        }
        self.signal(self.recipe.stop);
        self.signal("CONT"); // a paused process would sleep on its signal
        let deadline = Instant::now() + STOP_BOUND;
        while let Some(child) = self.child.as_mut() {
            match child.try_wait() {
                Ok(Some(_)) => self.child = None,
                _ if Instant::now() > deadline => {
                    let log = self.read_log();
                    self.kill();
                    if self.recipe.may_be_killed {
                        return;
                    }
                    panic!("{} did not end within {STOP_BOUND:?} of being told to; its log:\n{log}", self.recipe.name);
                }
                _ => thread::sleep(POLL),
            }
        }
    }

    fn wipe(&mut self) {
        assert!(self.child.is_none(), "{} runs: stop or kill it before its data is removed", self.recipe.name);
        let data = self.folder.path().join("data");
        if let Err(error) = fs::remove_dir_all(&data)
            && error.kind() != io::ErrorKind::NotFound
        {
            panic!("cannot remove {}: {error}", data.display());
        }
    }

    /// With the owners of the files, which some servers check.
    fn copy(&mut self, from: &str, to: &str) {
        assert!(self.child.is_none(), "{} runs: stop or kill it before its data is copied", self.recipe.name);
        let from = self.folder.path().join(from);
        let to = self.folder.path().join(to);
        match Command::new("cp").arg("-a").args([&from, &to]).status() {
            Ok(status) if status.success() => {}
            outcome => panic!("cannot copy {}: {outcome:?}", from.display()),
        }
    }

    fn signal(&mut self, name: &str) {
        let Some(child) = &self.child else { panic!("{} is not running: restart it first", self.recipe.name) };
        // Not yet waited for, so the id cannot belong to another process.
        signal(name, &[child.id()]);
    }

    fn read_log(&self) -> String {
        fs::read(&self.log).map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.kill();
        release_port(self.port);
    }
}

/// The state and the parent of a process, where the system has a `/proc`.
fn state_and_parent(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before them is in parentheses, and may contain some.
    let mut words = stat.rsplit_once(')')?.1.split_whitespace();
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

/// The processes that a process has started. PostgreSQL has one for each connection: they notice that it was killed
/// when they next wait for something, and one that is late answers a request before that.
fn children(pid: u32) -> Vec<u32> {
    let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
    let all = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(|child| state_and_parent(*child).is_some_and(|(_, parent)| parent == pid)).collect()
}

/// By the shell, which has `kill` built in: a minimal system has no such program.
fn signal(signal: &str, pids: &[u32]) {
    if pids.is_empty() {
        return;
    }
    let list: Vec<_> = pids.iter().map(u32::to_string).collect();
    // A failure means that one of them has ended meanwhile.
    let command = format!("kill -{signal} {}", list.join(" "));
    if let Err(error) = Command::new("sh").arg("-c").arg(command).stderr(Stdio::null()).status() {
        panic!("cannot run sh to send SIG{signal}: {error}");
    }
}

/// Waits for processes that were killed. The process that inherits them may leave them as zombies.
fn wait_for_end(pids: &[u32], name: &str) {
    let deadline = Instant::now() + STOP_BOUND;
    let runs = |pid: &u32| state_and_parent(*pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'));
    while pids.iter().any(runs) {
        assert!(Instant::now() < deadline, "processes of {name} did not end within {STOP_BOUND:?} of being killed");
        thread::sleep(POLL);
    }
}

/// Looks for a program by a variable that names it, else on the PATH.
pub(super) fn search_program(variable: &str, name: &str) -> Option<PathBuf> {
    let named = if variable.is_empty() { None } else { std::env::var_os(variable) };
    if let Some(path) = named.filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The same for a program that must be there.
pub(super) fn find_program(variable: &str, name: &str) -> PathBuf {
    search_program(variable, name).unwrap_or_else(|| {
        panic!("{name} is neither named by {variable} nor on the PATH: run the tests by `scripts/test` or under `scripts/with-servers`")
    })
}

/// A command that the kernel kills when the thread that spawned it ends, where `setpriv` can ask for that.
fn tethered(program: &Path) -> Command {
    static CAN_TETHER: LazyLock<bool> = LazyLock::new(|| {
        let mut probe = Command::new("setpriv");
        probe.args(["--pdeathsig", "KILL", "true"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    });
    if !*CAN_TETHER {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// The tether is to the thread, not to the process: a server started by the thread of one test would die with that test
/// although another one still uses it. This thread lives as long as the process.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    type Order = (Command, Sender<io::Result<Child>>);
    static SPAWNER: LazyLock<Sender<Order>> = LazyLock::new(|| {
        let (orders, inbox) = channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in inbox {
                // The reply is lost only if the asking thread panicked.
                let _ = reply.send(command.spawn());
            }
        });
        orders
    });
    let gone = || io::Error::other("the thread that starts servers is gone");
    let (reply, answer) = channel();
    SPAWNER.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

/// A step that panicked has left a state that the next step can start from.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs on a blocking thread; a panic there is a panic here.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failure) => match failure.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(cancelled) => panic!("the runtime shut down while a server was being handled: {cancelled}"),
        },
    }
}

//! The processes of a run, as the one that starts and ends them sees them.

use std::{
    env,
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{clock::now, data::Trouble, judge::Judge, node::Setup, record::Line};

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Worker,
    Reader,
    Writer,
    /// It may lead the feeds and does the maintenance.
    Leader,
    All,
}

/// The judge, which the logs of all processes go to.
pub(crate) type Shared = Arc<Mutex<Judge>>;

/// A panic of another thread has left no half of a step in it.
pub(crate) fn lock(judge: &Shared) -> MutexGuard<'_, Judge> {
    judge.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place for a process, which is there, stopped, or gone.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) role: Role,
    pub(crate) setup: Setup,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    orders: Option<ChildStdin>,
    log: JoinHandle<()>,
}

impl Process {
    pub(crate) fn new(role: Role, setup: Setup) -> Self {
        Self { role, setup, running: None }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Starts one under a new number.
    pub(crate) fn start(&mut self, process: u64, judge: &Shared) -> Result<(), Trouble> {
        self.setup.process = process;
        let writes = !self.setup.writes.is_empty();
        if writes {
            let mut judge = lock(judge);
            // The successor of a writer repeats the last writes, whose outcome is not known.
            self.setup.writes = judge.last(self.setup.writes.iter().map(|(item, _)| *item));
            judge.writer_begins(process, now());
        }
        let mut command = Command::new(env::current_exe()?);
        command.arg("node").arg(serde_json::to_string(&self.setup)?);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = child.stdin.take();
        let lines = child.stdout.take().ok_or("the output of a process is not piped")?;
        let judge = Arc::clone(judge);
        let log = thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line);
                // A process that is killed leaves half a line.
                let line =
                    line.unwrap_or_else(|error| Line::Text(format!("half a line of process {process}: {error}")));
                lock(&judge).line(process, line);
            }
            lock(&judge).ends(process);
        });
        self.running = Some(Running { child, orders, log });
        Ok(())
    }

    /// `kill -9`; returns when everything that it said is known.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        if let Some(mut running) = self.running.take() {
            running.child.kill()?;
            running.child.wait()?;
            let _ = running.log.join();
        }
        Ok(())
    }

    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        let id = self.running.as_ref().and_then(|running| Pid::from_raw(i32::try_from(running.child.id()).ok()?));
        id.map_or(Ok(()), |id| kill_process(id, signal).map_err(io::Error::from))
    }

    /// A line on its standard input.
    pub(crate) fn tell(&mut self, order: &str) {
        if let Some(orders) = self.running.as_mut().and_then(|running| running.orders.as_mut()) {
            // One that is gone is found by `has_died`.
            let _ = writeln!(orders, "{order}");
        }
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_died(&mut self) -> Option<String> {
        let ended = self.running.as_mut()?.child.try_wait().ok()??;
        Some(format!("the process {} ({:?}) ended by itself: {ended}", self.setup.process, self.role))
    }

    /// Closes its standard input.
    pub(crate) fn dismiss(&mut self) {
        if let Some(running) = &mut self.running {
            running.orders = None;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It is gone already, or is not wanted any more.
        let _ = self.kill();
    }
}

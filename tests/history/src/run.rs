//! A run: places, processes, faults one after the other, and the end, when everything has to become fresh.

use std::{
    collections::BTreeMap,
    fmt, io,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::{
    chance::Chance,
    checker::Figures,
    clock::now,
    data::{Data, Trouble},
    faults::{Fault, Network, Which},
    judge::Judge,
    node::Setup,
    options::Options,
    process::{Process, Role, Shared, lock},
    proxy::Weather,
    servers::{Kind, Place},
    world::Item,
};

/// For how long a feed confirms.
const VALIDITY: Duration = Duration::from_secs(2);
/// What a busy machine may add between a feed's look at its clock and the one of the checker.
const NOISE: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(50);
/// So many faults may be there at once.
const AT_ONCE: usize = 2;

/// The end of a fault.
#[derive(Clone, Copy, Debug)]
enum Undo {
    Start(usize),
    Continue(usize),
    Calm(Which, usize),
    Restart(Which),
    Resume(Which),
    Drain,
}

/// Places and processes.
pub(crate) struct Run {
    options: Options,
    store: Place,
    data: Place,
    judge: Shared,
    processes: Vec<Process>,
    next_process: u64,
    chance: Chance,
    /// What has to be undone, and when.
    undo: Vec<(Instant, Fault, Undo)>,
    happened: BTreeMap<Fault, u64>,
    has_backup: bool,
    began: Instant,
    _folder: TempDir,
}

/// What came out.
#[derive(Debug)]
pub(crate) struct Outcome {
    title: String,
    pub(crate) figures: Figures,
    happened: BTreeMap<Fault, u64>,
    /// What a reader of the report has to see.
    pub(crate) failures: Vec<String>,
}

impl Run {
    pub(crate) async fn new(options: Options) -> Result<Self, Trouble> {
        let folder = tempfile::Builder::new().prefix("smache-history-").tempdir()?;
        let store = match &options.url {
            Some(url) => Place::given(url),
            None => Place::start(options.store, "history_store", folder.path(), 2).await?,
        };
        let data = Place::start(options.data, "history_data", folder.path(), 2).await?;
        let made = Data::connect(&data.url()).await?;
        made.create().await?;
        made.close().await;
        let judge = Shared::new(Judge::new(u64::try_from((VALIDITY + NOISE).as_nanos())?).into());
        let chance = Chance::new(options.seed);
        let mut run = Self {
            store,
            data,
            judge,
            processes: Vec::new(),
            next_process: 0,
            chance,
            undo: Vec::new(),
            happened: BTreeMap::new(),
            has_backup: false,
            began: Instant::now(),
            options,
            _folder: folder,
        };
        run.set_up();
        Ok(run)
    }

    fn set_up(&mut self) {
        let namespace = format!("history-{:x}-{:x}", std::process::id(), now());
        let setup = |at: usize| Setup {
            process: 0,
            seed: self.options.seed,
            namespace: namespace.clone(),
            store: self.store.url_by(at),
            data: self.data.url_by(at),
            feeds: false,
            worker: false,
            readers: 0,
            writes: Vec::new(),
            pause: self.options.pause,
            pace: self.options.pace,
            validity: VALIDITY,
            lies: self.options.lies,
        };
        let readers = self.options.readers;
        let items = |of: usize, count: usize| Item::all().skip(of).step_by(count).map(|item| (item, 0)).collect();
        self.processes = if self.options.store.is_of_one_process() {
            let all = Setup { feeds: true, worker: true, readers: 2 * readers, writes: items(0, 1), ..setup(0) };
            vec![Process::new(Role::All, all)]
        } else {
            let of = |role: Role, at: usize| match role {
                Role::Leader => Setup { feeds: true, ..setup(at) },
                Role::Worker => Setup { worker: true, ..setup(at) },
                Role::Reader => Setup { readers, ..setup(at) },
                Role::Writer | Role::All => Setup { writes: items(at, 2), ..setup(at) },
            };
            let roles = [Role::Leader, Role::Worker, Role::Reader, Role::Writer];
            roles.into_iter().flat_map(|role| [0, 1].map(|at| Process::new(role, of(role, at)))).collect()
        };
    }

    /// The whole run.
    pub(crate) async fn play(mut self) -> Result<Outcome, Trouble> {
        for at in 0..self.processes.len() {
            self.start(at)?;
        }
        let mut failures = Vec::new();
        let end = Instant::now() + self.options.time;
        // The first results are stored before anything goes wrong.
        let mut next = Instant::now() + Duration::from_secs(2).min(self.options.time / 4);
        while Instant::now() < end && lock(&self.judge).violations.is_empty() {
            self.undo(false).await?;
            self.watch(&mut failures)?;
            if Instant::now() >= next && self.undo.len() < AT_ONCE {
                self.go_wrong().await?;
                next = Instant::now() + self.chance.millis(100, 1_500);
            }
            sleep(STEP).await;
        }
        self.undo(true).await?;
        self.settle(&mut failures).await?;
        for violation in &lock(&self.judge).violations {
            failures.push(violation.to_string());
        }
        if !failures.is_empty() {
            failures.extend(lock(&self.judge).texts.iter().map(|text| format!("log: {text}")));
        }
        let seconds = self.began.elapsed().as_secs();
        let Options { store, data, seed, .. } = &self.options;
        let title = format!("{} with data in {}, seed {seed}, {seconds} s", store.name(), data.name());
        let figures = lock(&self.judge).figures();
        Ok(Outcome { title, figures, happened: self.happened, failures })
    }

    fn start(&mut self, at: usize) -> Result<(), Trouble> {
        self.next_process += 1;
        self.processes[at].start(self.next_process, &self.judge)
    }

    /// A process that has ended by itself is a failure, and another one goes on for it.
    fn watch(&mut self, failures: &mut Vec<String>) -> Result<(), Trouble> {
        for at in 0..self.processes.len() {
            if let Some(ended) = self.processes[at].has_died() {
                failures.push(ended);
                self.processes[at].kill()?;
                self.start(at)?;
            }
        }
        Ok(())
    }

    fn say(&self, what: fmt::Arguments<'_>) {
        if self.options.verbose {
            let _ = io::Write::write_fmt(
                &mut io::stderr(),
                format_args!("{:7.2} s {what}\n", self.began.elapsed().as_secs_f64()),
            );
        }
    }

    /// One fault. Nothing happens if its place is in trouble already.
    async fn go_wrong(&mut self) -> Result<(), Trouble> {
        let Some(fault) = self.chance.of(&self.options.faults).copied() else { return Ok(()) };
        let (lasts, undo) = match fault {
            Fault::Kill(role) | Fault::Stop(role) => {
                let candidates: Vec<usize> = (0..self.processes.len())
                    .filter(|at| self.processes[*at].role == role && !self.is_in_trouble(*at))
                    .collect();
                let Some(at) = self.chance.of(&candidates).copied() else { return Ok(()) };
                if matches!(fault, Fault::Kill(_)) {
                    self.processes[at].kill()?;
                    (self.chance.millis(0, 2_000), Undo::Start(at))
                } else {
                    self.processes[at].signal(Signal::STOP)?;
                    // Some last longer than leases and validities.
                    (self.chance.millis(100, 7_000), Undo::Continue(at))
                }
            }
            Fault::Network(network) => {
                let places = [(Which::Store, &self.store), (Which::Data, &self.data)];
                let proxies: Vec<(Which, usize)> = places
                    .into_iter()
                    .flat_map(|(which, place)| (0..place.proxies.len()).map(move |at| (which, at)))
                    .collect();
                let Some((which, at)) = self.chance.of(&proxies).copied() else { return Ok(()) };
                if self.undo.iter().any(|(_, _, undo)| matches!(undo, Undo::Calm(..))) {
                    return Ok(());
                }
                let weather = match network {
                    Network::Cut => Weather::Cut,
                    Network::Delay => Weather::Delay(self.chance.millis(5, 400)),
                    Network::SwallowAnswers => Weather::SwallowAnswers,
                    Network::SwallowRequests => Weather::SwallowRequests,
                    Network::Halve => Weather::Halve,
                };
                self.place(which).proxies[at].turn(weather);
                (self.chance.millis(10, 4_000), Undo::Calm(which, at))
            }
            Fault::KillServer(which) | Fault::PauseServer(which) => {
                let Some(server) = self.place(which).process() else { return Ok(()) };
                if self.is_down(which) {
                    return Ok(());
                }
                if matches!(fault, Fault::KillServer(_)) {
                    server.kill().await;
                    (self.chance.millis(0, 2_000), Undo::Restart(which))
                } else {
                    server.pause().await;
                    (self.chance.millis(100, 5_000), Undo::Resume(which))
                }
            }
            Fault::EmptyStore | Fault::RollBackStore | Fault::FillStore if self.is_down(Which::Store) => return Ok(()),
            Fault::EmptyStore => {
                self.store.empty().await?;
                self.note(fault);
                self.connect_again()?;
                return Ok(());
            }
            Fault::RollBackStore => {
                self.roll_back().await;
                self.note(fault);
                return Ok(());
            }
            Fault::FillStore => {
                self.store.fill(true).await?;
                (self.chance.millis(500, 3_000), Undo::Drain)
            }
        };
        self.note(fault);
        self.say(format_args!("{undo:?} follows in {lasts:?}"));
        self.undo.push((Instant::now() + lasts, fault, undo));
        Ok(())
    }

    /// PostgreSQL lost the tables, which a program that connects makes. One that is about to start does so too.
    fn connect_again(&mut self) -> Result<(), Trouble> {
        let working = (0..self.processes.len()).find(|at| !self.is_in_trouble(*at));
        if let Some(at) = working.filter(|_| self.options.store == Kind::Postgres) {
            self.processes[at].kill()?;
            self.start(at)?;
        }
        Ok(())
    }

    fn note(&mut self, fault: Fault) {
        *self.happened.entry(fault).or_default() += 1;
        self.say(format_args!("{}", fault.name()));
    }

    fn place(&self, which: Which) -> &Place {
        match which {
            Which::Store => &self.store,
            Which::Data => &self.data,
        }
    }

    fn is_in_trouble(&self, process: usize) -> bool {
        let concerns = |undo: &Undo| matches!(undo, Undo::Start(at) | Undo::Continue(at) if *at == process);
        self.undo.iter().any(|(_, _, undo)| concerns(undo)) || !self.processes[process].is_running()
    }

    fn is_down(&self, which: Which) -> bool {
        let concerns = |undo: &Undo| match undo {
            Undo::Restart(of) | Undo::Resume(of) => *of == which,
            Undo::Drain => which == Which::Store,
            _ => false,
        };
        self.undo.iter().any(|(_, _, undo)| concerns(undo))
    }

    /// Copies the store; puts the copy in its place the next time.
    async fn roll_back(&mut self) {
        let Some(server) = self.store.process() else { return };
        if self.has_backup {
            server.kill().await;
            server.put_back().await;
            server.restart().await;
        } else {
            server.stop().await;
            server.back_up().await;
            server.restart().await;
        }
        self.has_backup = !self.has_backup;
    }

    /// Ends the faults whose time is over, or all.
    async fn undo(&mut self, all: bool) -> Result<(), Trouble> {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.undo).into_iter().partition(|(at, _, _)| all || *at <= now);
        self.undo = later;
        for (_, _, undo) in due {
            match undo {
                Undo::Start(at) => self.start(at)?,
                Undo::Continue(at) => self.processes[at].signal(Signal::CONT)?,
                Undo::Calm(which, at) => self.place(which).proxies[at].turn(Weather::Fair),
                Undo::Restart(which) => {
                    if let Some(server) = self.place(which).process() {
                        server.restart().await;
                    }
                }
                Undo::Resume(which) => {
                    if let Some(server) = self.place(which).process() {
                        server.resume().await;
                    }
                }
                Undo::Drain => self.store.fill(false).await?,
            }
            self.say(format_args!("{undo:?}"));
        }
        Ok(())
    }

    /// The writers end, and every call has to become fresh, by the workers alone where there is a value.
    async fn settle(&mut self, failures: &mut Vec<String>) -> Result<(), Trouble> {
        self.say(format_args!("everything works again"));
        for process in &mut self.processes {
            process.tell("settle");
        }
        let deadline = Instant::now() + self.options.settle;
        while !lock(&self.judge).pending().is_empty() && Instant::now() < deadline {
            self.watch(failures)?;
            sleep(STEP).await;
        }
        let pending = lock(&self.judge).pending();
        if !pending.is_empty() {
            failures.push(format!("changes were not acknowledged in the end: {pending:?}"));
        }
        let readers = self.processes.iter().map(|process| &process.setup).filter(|setup| setup.readers > 0);
        let readers: Vec<u64> = readers.map(|setup| setup.process).collect();
        lock(&self.judge).settle(now(), &readers);
        let deadline = Instant::now() + self.options.settle;
        while !lock(&self.judge).unsettled().is_empty() && Instant::now() < deadline {
            self.watch(failures)?;
            sleep(STEP).await;
        }
        let unsettled = lock(&self.judge).unsettled();
        if !unsettled.is_empty() {
            failures.push(format!("not fresh in the end, by process and call: {unsettled:?}"));
            for process in &mut self.processes {
                process.tell("explain");
            }
            sleep(Duration::from_secs(3)).await;
        }
        self.say(format_args!("everything is fresh"));
        for process in &mut self.processes {
            process.dismiss();
        }
        let deadline = Instant::now() + Duration::from_secs(15);
        for process in &mut self.processes {
            while process.has_died().is_none() && Instant::now() < deadline {
                sleep(STEP).await;
            }
            process.kill()?;
        }
        let waiting = lock(&self.judge).waiting();
        if waiting > 0 {
            failures.push(format!("{waiting} reads were not judged"));
        }
        Ok(())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { fresh, demanded, stale, unconfirmed, nothing, errors, changes, violations } = self.figures;
        let faults: u64 = self.happened.values().sum();
        let kinds: Vec<String> =
            self.happened.iter().map(|(fault, times)| format!("{} {times}", fault.name())).collect();
        write!(
            f,
            "history: {}: {fresh} fresh reads checked, {demanded} others that were demanded, {stale} stale, \
             {unconfirmed} unconfirmed, {nothing} without a value, {errors} errors, {changes} changes, \
             {faults} faults ({}), {violations} violations",
            self.title,
            kinds.join(", ")
        )
    }
}

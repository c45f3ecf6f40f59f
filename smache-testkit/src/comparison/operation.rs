//! The operations of a sequence, and the generator that draws them.

use smache_core::Lane;

use crate::chance::Chance;

/// How many entries, tags, sources, feeds, runs, reservations, leaders of a feed and programs there are.
pub(super) const ENTRIES: u8 = 5;
pub(super) const TAGS: u8 = 4;
pub(super) const SOURCES: u8 = 3;
pub(super) const FEEDS: u8 = 2;
pub(super) const RUNS: u8 = 7;
pub(super) const RESERVATIONS: u8 = 4;
pub(super) const PROCESSES: u8 = 2;
pub(super) const PROGRAMS: u8 = 3;

/// A time that no sequence reaches.
const ENDLESS: u32 = 600_000_000;

/// An operation of a sequence. Its `Debug` output is Rust again, so a failed sequence can be pasted into a test.
///
/// Things have small numbers, and sets of them are bit masks. Times are milliseconds. A run, a reservation and a leader
/// is named by the slot that its begin filled; an operation on an empty slot does nothing, so that every part of a
/// sequence is a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant says what its numbers are")]
pub enum Operation {
    /// Begins a run of an entry under a new token.
    Begin { run: u8, entry: u8, lease: u32 },
    /// Begins a run again, as if the answer had been lost.
    BeginAgain { run: u8, lease: u32 },
    /// Commits a run, which stays in its slot: a second commit is a lost one.
    Commit { run: u8, value: Value, end: End },
    /// Gives a run up.
    Abort { run: u8, failed: bool, delay: u32 },
    /// Extends the leases of runs.
    Extend { runs: u8, lease: u32 },
    /// Notes that runs wait for an entry.
    Wait { runs: u8, child: u8, lease: u32 },
    /// Removes an entry, perhaps in the name of a run.
    Remove { entry: u8, run: Option<u8> },
    /// Tags, and entries themselves, change.
    Change { tags: u8, entries: u8 },
    /// The leader of a feed delivers a batch.
    Deliver { leader: Leader, tags: u8, batch: Batch },
    /// The leader of a feed restarts sources.
    Restart { leader: Leader, batch: Batch },
    /// A process takes or keeps the leadership of a feed.
    Lead { leader: Leader, lease: u32 },
    /// A process gives it up.
    Resign { leader: Leader },
    /// A new epoch of the whole namespace.
    NewEpoch,
    /// Attaches sources.
    Attach { sources: u8 },
    /// Keeps the attached sources valid.
    KeepAttached { valid_for: u32 },
    /// Registers a program.
    Register { program: u8, lease: u32 },
    /// Removes programs whose lease is over.
    Unregister { programs: u8 },
    /// Maintenance.
    Maintain,
    /// Requests jobs.
    Enqueue { entries: u8, lane: Lane, priority: u8, delay: u32, revive: bool },
    /// Reserves jobs under a new token.
    Reserve { slot: u8, lane: Lane, max: u8, lease: u32 },
    /// Repeats a reservation whose answer was lost.
    ReserveAgain { slot: u8 },
    /// Extends a reservation of some jobs.
    ExtendJobs { slot: u8, entries: u8, lease: u32 },
    /// Settles jobs under the token of a reservation.
    Settle { slot: u8, entries: u8, end: JobResult },
    /// Puts dead letters back.
    Requeue { entries: u8 },
    /// Forgets jobs.
    Discard { entries: u8 },
    /// Lets time pass.
    Pass { millis: u32 },
    /// Another incarnation takes over, with all data.
    NewIncarnation,
    /// A change stops after so many polls; the next operations come in between; then it goes on, or its process dies.
    Interrupted { tags: u8, entries: u8, leader: Option<Leader>, batch: Batch, polls: u8, between: u8, dies: bool },
}

impl Operation {
    /// Which process does it: what belongs together is done by one, the rest by both.
    pub(super) fn process(&self) -> u8 {
        match self {
            Self::Begin { run, .. } | Self::BeginAgain { run, .. } | Self::Commit { run, .. } => run % 2,
            Self::Abort { run, .. } | Self::Remove { run: Some(run), .. } => run % 2,
            Self::Deliver { leader, .. } | Self::Restart { leader, .. } => leader.process,
            Self::Lead { leader, .. } | Self::Resign { leader } => leader.process,
            Self::Reserve { slot, .. } | Self::ReserveAgain { slot } | Self::Settle { slot, .. } => slot % 2,
            Self::Change { tags, .. } => tags % 2,
            Self::Enqueue { entries, .. } => entries % 2,
            Self::NewEpoch | Self::Attach { .. } | Self::Requeue { .. } | Self::ExtendJobs { .. } => 1,
            _ => 0,
        }
    }
}

/// A process that leads a feed, or wants to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// Which feed.
    pub feed: u8,
    /// Which process.
    pub process: u8,
}

/// What a run used, and how it commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// The tags that it used itself.
    pub direct: u8,
    /// The tags that its nested calls used.
    pub through: u8,
    /// The entries that it called.
    pub calls: u8,
    /// The sources that it used.
    pub sources: u8,
    /// How long it lives.
    pub ttl: Option<u32>,
    /// When the values that it was made of end, counted from its begin.
    pub not_after: Option<u32>,
}

/// How a run commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// It could not read everything fresh.
    pub tainted: bool,
    /// A stale value waits for a reader.
    pub lazy: bool,
    /// It asks for a report of conflicts.
    pub report: bool,
    /// It commits under the revision of the last report.
    pub reread: bool,
    /// How long the job of a stale value waits.
    pub delay: u32,
}

/// The progress of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// The sources.
    pub sources: u8,
    /// The history of the position.
    pub history: u8,
    /// The place in that history.
    pub place: u8,
    /// For how long it confirms.
    pub valid_for: Option<u32>,
    /// When it ends in any case, from now.
    pub deadline: Option<u32>,
    /// Whether it is complete.
    pub caught_up: bool,
    /// For how long the leadership is renewed.
    pub lease: u32,
}

/// How a job went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "a delay is in milliseconds")]
pub enum JobResult {
    /// Well.
    Done,
    /// It is handed back.
    Release { delay: u32 },
    /// It is tried again.
    Retry { delay: u32 },
    /// It failed for the last time.
    DeadLetter,
}

/// What a sequence may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Draws {
    pub(super) store: bool,
    pub(super) queue: bool,
    /// The clock is moved by hand: any time may pass.
    pub(super) by_hand: bool,
    /// The server can be replaced.
    pub(super) incarnations: bool,
    /// A step that is not polled does not go on, so that it can be interrupted.
    pub(super) interrupts: bool,
}

/// Draws a sequence.
pub(super) fn sequence(chance: &mut Chance, draws: Draws, length: usize) -> Vec<Operation> {
    // Each sequence prefers some kinds, so that rare ones meet each other.
    let moods = [(); 6].map(|()| 1 + chance.below(4) * chance.below(3));
    let mut drawn = Drawing { chance, draws, moods };
    (0..length).map(|_| drawn.operation()).collect()
}

struct Drawing<'a> {
    chance: &'a mut Chance,
    draws: Draws,
    moods: [u32; 6],
}

impl Drawing<'_> {
    fn number(&mut self, below: u8) -> u8 {
        u8::try_from(self.chance.below(below.into())).expect("it is below")
    }

    fn one_in(&mut self, so_many: u32) -> bool {
        self.chance.below(so_many) == 0
    }

    /// A set that is small more often than not.
    fn some(&mut self, of: u8) -> u8 {
        let thin = self.chance.below(3);
        (0..of).filter(|_| self.chance.below(3) <= thin).fold(0, |set, bit| set | 1 << bit) & !(self.holes(of))
    }

    fn holes(&mut self, of: u8) -> u8 {
        if self.one_in(3) { 0 } else { 1 << self.number(of) }
    }

    /// A lease: over at once, or endless, or something in between where the time is moved by hand.
    fn lease(&mut self) -> u32 {
        match self.chance.below(if self.draws.by_hand { 10 } else { 5 }) {
            0 => 0,
            1..5 => ENDLESS,
            5..8 => 5_000,
            8 => 1,
            _ => 40_000,
        }
    }

    /// A delay: none, or endless, or something in between.
    fn delay(&mut self) -> u32 {
        match self.chance.below(if self.draws.by_hand { 6 } else { 4 }) {
            0..3 => 0,
            3 => ENDLESS,
            4 => 5_000,
            _ => 1,
        }
    }

    fn maybe(&mut self, so_many: u32, draw: impl FnOnce(&mut Self) -> u32) -> Option<u32> {
        if self.one_in(so_many) { Some(draw(self)) } else { None }
    }

    fn leader(&mut self) -> Leader {
        Leader { feed: if self.one_in(3) { 1 } else { 0 }, process: self.number(PROCESSES) }
    }

    fn lane(&mut self) -> Lane {
        Lane::ALL[usize::from(self.one_in(2))]
    }

    fn batch(&mut self) -> Batch {
        Batch {
            sources: 1 << self.number(SOURCES) | self.some(SOURCES),
            history: u8::from(self.one_in(5)),
            place: self.number(5),
            valid_for: if self.one_in(5) { None } else { Some(self.lease()) },
            deadline: self.maybe(3, Self::lease),
            caught_up: !self.one_in(3),
            lease: self.lease(),
        }
    }

    fn operation(&mut self) -> Operation {
        let Draws { store, queue, .. } = self.draws;
        let [runs, changes, feeds, odd, jobs, time] = self.moods;
        let weights = [
            if store { 8 * runs } else { 0 },
            if store { 4 * changes } else { 0 },
            if store { 2 * feeds } else { 0 },
            if store { odd } else { 0 },
            if queue { (if store { 4 } else { 12 }) * jobs } else { 0 },
            time + u32::from(self.draws.by_hand) * time,
        ];
        let mut at = self.chance.below(weights.iter().sum());
        let kind = weights.iter().position(|weight| match at.checked_sub(*weight) {
            Some(rest) => {
                at = rest;
                false
            }
            None => true,
        });
        match kind {
            Some(0) => self.run(),
            Some(1) => self.change(),
            Some(2) => self.feed(),
            Some(3) => self.odd(),
            Some(4) => self.job(),
            _ => self.time(),
        }
    }

    fn run(&mut self) -> Operation {
        let run = self.number(RUNS);
        match self.chance.below(20) {
            0..7 => Operation::Begin { run, entry: self.number(ENTRIES), lease: self.lease() },
            7 => Operation::BeginAgain { run, lease: self.lease() },
            8..16 => Operation::Commit { run, value: self.value(), end: self.end() },
            16 => Operation::Abort { run, failed: self.one_in(2), delay: self.delay() },
            17 => Operation::Extend { runs: self.some(RUNS), lease: self.lease() },
            18 => Operation::Wait { runs: self.some(RUNS), child: self.number(ENTRIES), lease: self.lease() },
            _ => Operation::Remove { entry: self.number(ENTRIES), run: if self.one_in(2) { Some(run) } else { None } },
        }
    }

    fn value(&mut self) -> Value {
        Value {
            direct: self.some(TAGS),
            through: self.some(TAGS),
            calls: if self.one_in(3) { self.some(ENTRIES) } else { 0 },
            sources: if self.one_in(2) { self.some(SOURCES) } else { 0 },
            ttl: self.maybe(4, Self::lease),
            not_after: self.maybe(8, Self::lease),
        }
    }

    fn end(&mut self) -> End {
        End {
            tainted: self.one_in(12),
            lazy: self.one_in(6),
            report: self.one_in(3),
            reread: self.one_in(3),
            delay: self.delay(),
        }
    }

    fn change(&mut self) -> Operation {
        let tags = self.some(TAGS);
        let entries = if self.one_in(4) { self.some(ENTRIES) } else { 0 };
        if !self.draws.interrupts || !self.one_in(4) {
            return Operation::Change { tags, entries };
        }
        let leader = if self.one_in(3) { Some(self.leader()) } else { None };
        let (batch, polls, between) = (self.batch(), 1 + self.number(6), self.number(4));
        Operation::Interrupted { tags, entries, leader, batch, polls, between, dies: self.one_in(3) }
    }

    fn feed(&mut self) -> Operation {
        let leader = self.leader();
        match self.chance.below(12) {
            0..2 => Operation::Lead { leader, lease: self.lease() },
            2 => Operation::Resign { leader },
            3 => Operation::Restart { leader, batch: self.batch() },
            4..9 => Operation::Deliver { leader, tags: self.some(TAGS), batch: self.batch() },
            9..11 => Operation::Attach { sources: 1 << self.number(SOURCES) | self.some(SOURCES) },
            _ => Operation::KeepAttached { valid_for: self.lease() },
        }
    }

    fn odd(&mut self) -> Operation {
        match self.chance.below(5) {
            0 => Operation::NewEpoch,
            1..3 => Operation::Register { program: self.number(PROGRAMS), lease: self.lease() },
            3 => Operation::Unregister { programs: self.some(PROGRAMS) },
            _ if self.draws.incarnations => Operation::NewIncarnation,
            _ => Operation::Maintain,
        }
    }

    fn job(&mut self) -> Operation {
        let slot = self.number(RESERVATIONS);
        let entries = 1 << self.number(ENTRIES) | self.some(ENTRIES);
        match self.chance.below(24) {
            0..7 => Operation::Enqueue {
                entries,
                lane: self.lane(),
                priority: [4, 4, 0, 200][self.chance.below(4) as usize],
                delay: self.delay(),
                revive: !self.one_in(3),
            },
            7..13 => {
                let max = if self.one_in(3) { 1 } else { 100 };
                Operation::Reserve { slot, lane: self.lane(), max, lease: self.lease() }
            }
            13 => Operation::ReserveAgain { slot },
            14 => Operation::ExtendJobs { slot, entries, lease: self.lease() },
            15..22 => {
                let end = match self.chance.below(6) {
                    0..2 => JobResult::Done,
                    2 => JobResult::Release { delay: self.delay() },
                    3..5 => JobResult::Retry { delay: self.delay() },
                    _ => JobResult::DeadLetter,
                };
                Operation::Settle { slot, entries, end }
            }
            22 => Operation::Requeue { entries },
            _ => Operation::Discard { entries },
        }
    }

    fn time(&mut self) -> Operation {
        if self.draws.by_hand {
            return match self.chance.below(8) {
                0 => Operation::Pass { millis: 1 },
                1..3 => Operation::Pass { millis: 1_001 },
                3 => Operation::Pass { millis: 5_000 },
                4 => Operation::Pass { millis: 31_000 },
                5 if self.one_in(4) => Operation::Pass { millis: ENDLESS + 2_000 },
                _ => self.maintain(),
            };
        }
        // It is slept through: long enough that maintenance reaps a run whose lease was over at once.
        if self.one_in(300) { Operation::Pass { millis: 1_200 } } else { self.maintain() }
    }

    fn maintain(&mut self) -> Operation {
        if self.draws.store { Operation::Maintain } else { self.job() }
    }
}

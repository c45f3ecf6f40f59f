//! The state that the checker walks over: the partitions, the data, the time and the processes.

use std::{sync::LazyLock, time::Duration};

use smache_core::{
    Dependency, EntryId, Epoch, FeedId, Incarnation, Invalidation, InvalidationAttempt, JobWrites, Position, SourceId,
    Timestamp, Token, protocol::JobStage,
};
use smache_testkit::reference::{Moment, Partition, Redo};

use crate::{
    change::Report,
    config::{Budget, Config},
    feed::Leader,
    run::{Job, Run},
};

/// A step of the clocks: marks that are not renewed, leases and attached sources end within one.
pub const TICK: Duration = Duration::from_secs(31);
/// Of runs, jobs and leaders.
pub const LEASE: Duration = Duration::from_secs(20);
/// How long a batch of the feed confirms: for one step of the clocks and not for two.
pub const VALIDITY: Duration = Duration::from_secs(45);

/// The source of all rows.
pub static SOURCE: LazyLock<SourceId> = LazyLock::new(|| SourceId::new("rows").expect("the constant is a name"));
/// Its feed.
pub static FEED: LazyLock<FeedId> = LazyLock::new(|| FeedId::new("rows").expect("the constant is a name"));
static ENTRIES: LazyLock<[Dependency; 2]> = LazyLock::new(|| Name::ALL.map(|name| Dependency::entry(&name.id())));

/// An entry. A walk comes to the parent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// Calls the child.
    Parent,
    /// Reads rows.
    Child,
}

impl Name {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Parent, Self::Child];

    /// Its id.
    #[must_use]
    pub fn id(self) -> EntryId {
        EntryId::from_bytes([self as u8 + 1; EntryId::LEN])
    }

    /// The entry of that id.
    #[must_use]
    pub fn of(id: &EntryId) -> Self {
        if id.as_bytes()[0] == 1 { Self::Parent } else { Self::Child }
    }

    /// The entry as a dependency.
    #[must_use]
    pub fn dependency(self) -> Dependency {
        ENTRIES[self as usize]
    }
}

/// A row as a dependency.
#[must_use]
pub fn row(row: usize) -> Dependency {
    Dependency::from_bytes([0x10 + u8::try_from(row).unwrap_or(u8::MAX); Dependency::LEN])
}

/// A token by its number.
#[must_use]
pub fn token(number: u8) -> Token {
    Token::from_bytes([number; Token::LEN])
}

/// An epoch by its number.
#[must_use]
pub fn epoch(number: u8) -> Epoch {
    Epoch::from_bytes([number; Epoch::LEN])
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// How often each row was written: the value of the row.
    pub rows: [u8; 2],
    /// How many of these writes were acknowledged.
    pub acked: [u8; 2],
    /// How many were before the last step of the clocks.
    pub acked_before: [u8; 2],
    /// The rows in the order of the writes, and when.
    pub log: Vec<(u8, u8)>,
    /// Which history of the source this is, and the write that it begins behind.
    pub history: (u8, u8),
    /// Steps of the true clock.
    pub real: u8,
    /// How far the clock of the stores was set back.
    pub back: u8,
    /// The stores with their queues. The parent is in the first, the child in the last one.
    pub parts: Vec<Part>,
    /// Runs under way.
    pub runs: Vec<Run>,
    /// Reserved jobs without a run yet.
    pub jobs: Vec<Job>,
    /// Changes that the application is reporting.
    pub reports: Vec<Report>,
    /// Processes that lead the feed or want to.
    pub leaders: Vec<Leader>,
    /// A redo of maintenance under way.
    pub redo: Option<(usize, Redo)>,
    /// A step of a feed on its way, for whose answer its leader no longer waits.
    pub late: Option<(usize, Invalidation, InvalidationAttempt)>,
    /// The faults and writes so far.
    pub spent: Budget,
    /// The epochs so far.
    pub epochs: u8,
    /// A promise that a step has just broken.
    pub broken: Option<&'static str>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Part {
    /// Its state.
    pub store: Partition,
    /// Which incarnation of its server answers.
    pub incarnation: Incarnation,
    /// How often the server was replaced.
    pub replaced: u8,
    /// How far the clock was set back when the leader that last confirmed asked for the time.
    pub confirmed_back: u8,
    /// An earlier state, which a standby has.
    pub backup: Option<Box<Partition>>,
    /// The server that was replaced, which some readers still reach.
    pub superseded: Option<Box<(Partition, Incarnation)>>,
}

impl Part {
    /// A step at that time.
    pub fn step<T>(&mut self, now: Timestamp, step: impl FnOnce(&mut Partition, Moment<'_>) -> T) -> T {
        step(&mut self.store, Moment { now, incarnation: &self.incarnation })
    }
}

impl World {
    /// Nothing is stored yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let part = |_| {
            let mut store = Partition::new(epoch(1));
            store.job_writes = if config.reconciled { JobWrites::Reported } else { JobWrites::SameStep };
            Part { store, incarnation: incarnation(0), replaced: 0, confirmed_back: 0, backup: None, superseded: None }
        };
        let mut world = Self {
            rows: [0; 2],
            acked: [0; 2],
            acked_before: [0; 2],
            log: Vec::new(),
            history: (0, 0),
            real: 0,
            back: 0,
            parts: (0..config.parts).map(part).collect(),
            runs: Vec::new(),
            jobs: Vec::new(),
            reports: Vec::new(),
            leaders: (0..config.leaders).map(Leader::new).collect(),
            redo: None,
            late: None,
            spent: Budget::default(),
            epochs: 1,
            broken: None,
        };
        if !config.is_fed() {
            (0..config.parts).for_each(|part| world.attach(part));
        }
        world
    }

    /// The time of the stores.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock_at(self.real, self.back)
    }

    /// The time of the stores at a step of the true clock, if it was set back so far.
    #[must_use]
    pub fn clock_at(&self, real: u8, back: u8) -> Timestamp {
        Timestamp::from_millis(10_000_000).after(TICK * u32::from(real)).before(TICK * u32::from(back))
    }

    /// A new epoch, which never was before.
    pub fn new_epoch(&mut self) -> Epoch {
        self.epochs += 1;
        epoch(self.epochs)
    }

    /// A token that nothing holds. The numbers are used again, so that orders of steps that end alike are one state.
    #[must_use]
    pub fn free_token(&self) -> u8 {
        let mut used = [false; 32];
        let mut take = |token: &Token| used[usize::from(token.as_bytes()[0]) % 32] = true;
        for run in &self.runs {
            take(&token(run.token));
            run.job.iter().for_each(|number| take(&token(*number)));
        }
        self.jobs.iter().for_each(|job| take(&token(job.token)));
        for part in &self.parts {
            let others = part.backup.iter().map(|backup| &**backup);
            for store in others.chain([&part.store]) {
                store.runs.values().for_each(|run| take(&run.token));
                for job in store.jobs.values() {
                    if let JobStage::Running { token, .. } = &job.stage {
                        take(token);
                    }
                }
            }
        }
        (1..32).find(|number| !used[usize::from(*number)]).unwrap_or(0)
    }

    /// The end of the feed, as the number of writes.
    #[must_use]
    pub fn end(&self) -> u8 {
        u8::try_from(self.log.len()).unwrap_or(u8::MAX)
    }

    /// The position behind so many writes.
    #[must_use]
    pub fn position(&self, history: (u8, u8), writes: u8) -> Position {
        Position::new([history.0], [writes.saturating_sub(history.1)], Vec::new())
    }

    /// How many writes a position is behind, if it is of the present history.
    #[must_use]
    pub fn place(&self, position: &Position) -> Option<u8> {
        let start = self.position(self.history, self.history.1);
        (position.history() == start.history()).then(|| position.place().first().map(|place| place + self.history.1))?
    }

    /// How many of the writes were to a row.
    #[must_use]
    pub fn writes_to(&self, row: usize, writes: u8) -> u8 {
        let to_row = self.log.iter().take(writes.into()).filter(|(to, _)| usize::from(*to) == row);
        u8::try_from(to_row.count()).unwrap_or(u8::MAX)
    }

    /// Orders that make no difference become one state.
    pub fn normalize(&mut self) {
        self.jobs.sort_unstable();
        self.runs.sort_by_cached_key(hash);
        self.reports.sort_by_cached_key(hash);
    }
}

/// An incarnation by its number.
#[must_use]
pub fn incarnation(number: u8) -> Incarnation {
    Incarnation::new(["first", "second", "third", "fourth"][usize::from(number.min(3))])
}

/// The hash of something.
#[must_use]
pub fn hash(thing: &impl std::hash::Hash) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    thing.hash(&mut hasher);
    hasher.finish()
}

//! The configurations: what happens in a model, and how often.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often things happen, or may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Budget {
    /// Writes of the application.
    pub writes: u8,
    /// Readers that begin a run.
    pub reads: u8,
    /// Steps of the clocks.
    pub ticks: u8,
    /// Steps back of the clock of the stores.
    pub backs: u8,
    /// Evicted entries.
    pub evictions: u8,
    /// States that a standby keeps.
    pub snapshots: u8,
    /// Servers that a standby replaces.
    pub failovers: u8,
    /// Histories of the source that are lost.
    pub histories: u8,
    /// Steps of a feed that arrive late.
    pub late: u8,
    /// New epochs of everything.
    pub epochs: u8,
    /// Runs that fail.
    pub aborts: u8,
    /// Parents that give up on a child that is not fresh.
    pub taints: u8,
    /// Stores that forget changes although runs need them.
    pub forgets: u8,
}

/// Where changes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The application reports each.
    Reported,
    /// A feed has them.
    Feed,
}

/// What the functions read. The first row is `a`, the second one `b`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Functions {
    /// The child alone, which reads `a`.
    Alone,
    /// The child alone: `a`, and `b` where `a` is odd.
    Dynamic,
    /// The parent returns the child, which reads `a`.
    Nested,
    /// The parent reads the child and `b`; the child is half of `a`.
    CutOff,
    /// The parent returns the child, which is `b` where `a` is odd.
    Switch,
}

/// A rule of the engine that is broken: the mutants beside those of the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table of the mutants says each in a sentence")]
pub enum Rule {
    RevisionFirst,
    NoBarrier,
    OneNameForAllAttempts,
    TokenUsedAgain,
    JobsApart,
    ChildNotFlattened,
    StaleChild,
    UnconfirmedChild,
    RevalidatesDirect,
    RevalidatesWithOldDependencies,
    RevalidatesWithoutComparing,
    RevalidatesOldEpochs,
    RevalidatesWithStaleChild,
    PositionFirst,
    ResumesFromLatest,
    ResumesFromOwn,
    ReconnectsSilently,
    CaughtUpBeforeReplay,
    PositionAfterEpoch,
    EpochAtCommit,
    IncarnationIgnored,
    ChangesEvicted,
    LaggingReads,
    KeptForever,
    RereadsNothing,
    LateStepWithoutDeadline,
}

/// A configuration.
#[derive(Debug)]
pub struct Config {
    /// Its name.
    pub name: &'static str,
    /// How many partitions.
    pub parts: usize,
    /// Where changes come from.
    pub source: Source,
    /// What the functions read.
    pub functions: Functions,
    /// How many rows are written.
    pub rows: usize,
    /// How many dependants fit into a step.
    pub page: usize,
    /// How often things may happen.
    pub limits: Budget,
    /// How many processes run functions at once.
    pub actors: usize,
    /// How many processes may lead the feed.
    pub leaders: u8,
    /// Whether workers do jobs; otherwise only the check for lost work does.
    pub workers: bool,
    /// Whether maintenance takes its steps; otherwise only the check for lost work does.
    pub maintained: bool,
    /// Whether a run that was overtaken reads again.
    pub rereads: bool,
    /// Whether the engine writes the jobs, and the reconciler finds lost ones.
    pub reconciled: bool,
    /// Whether readers still reach a server that was replaced.
    pub superseded: bool,
    /// The one partition that a standby replaces; `None`: any.
    pub fails: Option<usize>,
    /// Whether the entries are stored at the start.
    pub prepared: bool,
    /// The rule that is broken.
    pub rule: Option<Rule>,
    /// What has to be reached, or the model says nothing.
    pub expected: &'static [Reach],
    /// What was reached so far.
    pub reached: AtomicU64,
    /// The states of the stores from which everything was found to converge.
    pub converged: crate::check::Seen,
}

/// Something that a configuration has to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Reach {
    FreshHit,
    Conflict,
    Reread,
    CutOff,
    Lost,
    OtherIncarnation,
    Walk,
    Redo,
    Sweep,
    Reap,
    JobAgain,
    PutBack,
    Restart,
    Fenced,
    Replay,
    Tainted,
    ConflictOfMark,
    NotTaken,
}

impl Config {
    /// Whether changes come from a feed.
    #[must_use]
    pub fn is_fed(&self) -> bool {
        self.source == Source::Feed
    }

    /// Whether a rule is broken.
    #[must_use]
    pub fn breaks(&self, rule: Rule) -> bool {
        self.rule == Some(rule)
    }

    /// Notes that something was reached.
    pub fn reach(&self, what: Reach) {
        self.reached.fetch_or(1 << what as u64, Ordering::Relaxed);
    }

    /// What was expected and not reached.
    #[must_use]
    pub fn missing(&self) -> Vec<Reach> {
        let reached = self.reached.load(Ordering::Relaxed);
        self.expected.iter().copied().filter(|what| reached & (1 << *what as u64) == 0).collect()
    }

    /// Whether there is a parent.
    #[must_use]
    pub fn has_parent(&self) -> bool {
        matches!(self.functions, Functions::Nested | Functions::CutOff | Functions::Switch)
    }

    /// The partition of an entry.
    #[must_use]
    pub fn part_of(&self, name: crate::world::Name) -> usize {
        if name == crate::world::Name::Parent { 0 } else { self.parts - 1 }
    }
}

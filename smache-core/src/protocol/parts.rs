//! The parts of a partition that the steps read and write.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;

use super::mutant::off;
use crate::{
    Dependency, EntryId, Epochs, JobState, Lane, Record, RunFailure, Staleness, StoredEntry, Timestamp, Token,
    UsedDependency, Validity, support::limits::USUAL_PRIORITY,
};

/// A run under way: who computes an entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Run {
    /// The token of the run.
    pub token: Token,
    /// The revision of its begin: later changes conflict with it.
    pub start_revision: u64,
    /// The end of its lease.
    pub until: Timestamp,
    /// The runs that it waits for, the newest last.
    pub waits: Vec<Wait>,
}

impl Run {
    /// Whether the lease holds, so that no other run may begin.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until > now
    }
}

/// A note that a run waits for the run of another entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wait {
    /// The awaited entry.
    pub child: EntryId,
    /// The token of the awaited run: the note does not hold for a later run of the child.
    pub token: Token,
    /// Until when the note counts.
    pub until: Timestamp,
}

/// The fields of a record that the steps change: all but the value, the notes, the call and the edges.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Head {
    /// The revision that the value reflects.
    pub version: u64,
    /// The epochs that its run began in.
    pub epochs: Epochs,
    /// Whether a change has affected it.
    pub staleness: Staleness,
    /// Since when it is stale; set exactly when it is.
    pub since: Option<Timestamp>,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// When it expires.
    pub expires: Option<Timestamp>,
    /// Whether it waits for a reader instead of a worker.
    pub lazy: bool,
    /// Runs in a row that a change overtook.
    pub conflicts: u32,
    /// Runs in a row that failed.
    pub failures: u32,
    /// The last failure since the last success.
    pub last_failure: Option<RunFailure>,
    /// The changes that made it stale, the newest last.
    pub causes: Vec<Arc<str>>,
}

impl Head {
    /// The part of the record that a look-up returns.
    #[must_use]
    pub fn entry(&self, value: Bytes, meta: Bytes) -> StoredEntry {
        StoredEntry {
            value,
            meta,
            version: self.version,
            epochs: self.epochs.clone(),
            staleness: self.staleness,
            since: self.since,
            stored_at: self.stored_at,
            expires: self.expires,
        }
    }

    /// The whole record.
    #[must_use]
    pub fn record(&self, value: Bytes, meta: Bytes, call: Bytes, used: Vec<UsedDependency>) -> Record {
        let mut record = Record::new(self.entry(value, meta), call, used);
        record.causes.clone_from(&self.causes);
        record.lazy = self.lazy;
        record.conflicts = self.conflicts;
        record.failures = self.failures;
        record.last_failure.clone_from(&self.last_failure);
        record
    }

    /// The job that a change of the entry needs.
    #[must_use]
    pub fn need(&self) -> JobWrite {
        match self.staleness.lane() {
            Some(lane) if !self.lazy => JobWrite::Need { lane, after: std::time::Duration::ZERO },
            _ => JobWrite::Keep,
        }
    }

    /// The lane of the job of an entry whose run ended without a value, if it is stale and not left to its readers.
    #[must_use]
    pub fn lane_after_run(&self, validity: &Validity) -> Option<Lane> {
        if self.lazy { None } else { validity.lane_of_need(self.staleness, &self.epochs) }
    }
}

/// The leader of a feed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Leader {
    /// The process.
    pub holder: Token,
    /// Grows with every leader.
    pub fence: u64,
    /// The end of its lease.
    pub until: Timestamp,
}

/// The changes that a partition remembers.
pub trait ChangeLog {
    /// The number of invalidations so far.
    fn revision(&self) -> u64;

    /// The revision below which invalidations are forgotten.
    fn low_watermark(&self) -> u64;

    /// The revision of the last invalidation of a dependency, if it is remembered.
    fn last_change(&self, dependency: &Dependency) -> Option<u64>;

    /// Whether an invalidation of a dependency is under way.
    fn is_marked(&self, dependency: &Dependency) -> bool;

    /// Whether a dependency was invalidated after a revision, is being invalidated, or may have been: it conflicts with
    /// a value of that version.
    fn conflicts_with(&self, dependency: &Dependency, version: u64) -> bool {
        off!(LowWatermarkIgnored, version < self.low_watermark())
            || off!(LastChangeIgnored, self.last_change(dependency).is_some_and(|changed| changed > version))
            || off!(MarkIgnored, self.is_marked(dependency))
    }
}

/// The changes of some dependencies, as a backend that keeps them elsewhere has read them.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// The number of invalidations so far.
    pub revision: u64,
    /// The revision below which invalidations are forgotten.
    pub low_watermark: u64,
    /// The revision of the last invalidation of each dependency that has a remembered one.
    pub last: HashMap<Dependency, u64>,
    /// The dependencies of which an invalidation is under way.
    pub marked: HashSet<Dependency>,
}

impl ChangeLog for Changes {
    fn revision(&self) -> u64 {
        self.revision
    }

    fn low_watermark(&self) -> u64 {
        self.low_watermark
    }

    fn last_change(&self, dependency: &Dependency) -> Option<u64> {
        self.last.get(dependency).copied()
    }

    fn is_marked(&self, dependency: &Dependency) -> bool {
        self.marked.contains(dependency)
    }
}

/// A job that is queued, running or a dead letter; a job that is done is removed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoredJob {
    /// Its lane; in a running job, that of the run.
    pub lane: Lane,
    /// 0 is the most urgent.
    pub priority: u8,
    /// Runs in a row that ended in an error.
    pub errors: u32,
    /// Runs in a row whose worker vanished.
    pub crashes: u32,
    /// The last error.
    pub error: Option<String>,
    /// Its state, with what belongs to it.
    pub stage: JobStage,
}

/// The state of a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum JobStage {
    /// It waits for a worker or for its time.
    Queued {
        /// When it is due.
        due: Timestamp,
    },
    /// A worker has it.
    Running {
        /// Of the reservation.
        token: Token,
        /// The end of the reservation.
        until: Timestamp,
        /// The request that came meanwhile: it runs once more.
        again: Option<Request>,
    },
    /// It failed for the last time.
    DeadLetter {
        /// When.
        at: Timestamp,
    },
}

/// A request for a job; in a running job, for one more run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Request {
    /// It is not due before.
    pub due: Timestamp,
    /// Its lane.
    pub lane: Lane,
    /// 0 is the most urgent.
    pub priority: u8,
}

impl StoredJob {
    /// A job that has not run.
    #[must_use]
    pub fn new(request: Request) -> Self {
        let Request { due, lane, priority } = request;
        Self { lane, priority, errors: 0, crashes: 0, error: None, stage: JobStage::Queued { due } }
    }

    /// The name of the state, and when the job is due, its lease ends or it became a dead letter.
    #[must_use]
    pub fn state(&self) -> (JobState, Timestamp) {
        match self.stage {
            JobStage::Queued { due } => (JobState::Queued, due),
            JobStage::Running { until, .. } => (JobState::Running, until),
            JobStage::DeadLetter { at } => (JobState::DeadLetter, at),
        }
    }

    /// Resets the counters, as if it had never run.
    pub(super) fn forgive(&mut self) {
        (self.errors, self.crashes, self.error) = (0, 0, None);
    }
}

/// What a step on an entry does to the job of that entry. A backend that does not hold the jobs reports the entry
/// instead, for the two kinds of need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobWrite {
    /// Nothing.
    Keep,
    /// A change affected the entry, which may succeed now: its job comes back even from a dead letter.
    Need {
        /// The lane.
        lane: Lane,
        /// It is due so much later.
        after: std::time::Duration,
    },
    /// A run of the entry ended without a value, and it is still stale. No data changed: a job that is there, such as a
    /// dead letter, stays unchanged, as its worker knows better whether and when to try again.
    NeedAfterRun {
        /// The lane.
        lane: Lane,
        /// It is due so much later.
        after: std::time::Duration,
    },
    /// The entry is fresh or gone: its job has nothing to do.
    TakeBack,
}

impl JobWrite {
    /// Whether the entry needs a job.
    #[must_use]
    pub fn is_need(self) -> bool {
        matches!(self, Self::Need { .. } | Self::NeedAfterRun { .. })
    }

    /// The request of a need.
    pub(super) fn request(lane: Lane, due: Timestamp) -> Request {
        Request { due, lane, priority: USUAL_PRIORITY }
    }
}

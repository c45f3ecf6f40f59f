//! The seam to a job queue: unique jobs that carry nothing but the id of an entry.
//!
//! The store knows what to run, with which arguments; the queue only says *that* an entry wants a worker.

mod notifier;

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

pub use self::notifier::{Notifier, NotifierTransport, Notifiers, Subscriber};
use crate::{EntryId, Examination, Incarnation, Result, Timestamp, Token, support::limits::USUAL_PRIORITY};

/// The line in which a job stands. Workers reserve each lane separately, so that neither waits behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Cheap work on the graph: an entry that is stale only through nested calls.
    Propagation,
    /// Running functions.
    Recompute,
}

impl Lane {
    /// Both lanes, the urgent one first.
    pub const ALL: [Self; 2] = [Self::Propagation, Self::Recompute];
}

/// A job queue.
///
/// A job is unique by its entry. If it is queued, one more request merges with it. If it is running, it runs once more
/// after the present run. It is delivered at least once: another worker gets a reservation that is not settled in time.
///
/// # Errors
/// Every method: [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the queue cannot be reached.
///
/// # Cancel safety
/// Every method may be dropped at any await point. A dropped [`reserve`](Self::reserve) may have reserved jobs without
/// an answer: ask [`again`](Reserve::again), or wait until their leases lapse and another worker gets them.
#[async_trait]
pub trait JobQueue: Debug + Send + Sync + 'static {
    /// Adds jobs.
    ///
    /// # Contract
    /// - MUST merge with a queued job; the earlier due time and the more urgent lane win `queued_job_is_merged`
    /// - MUST make a running job run once more `running_job_runs_once_more`
    /// - MUST leave a dead letter alone unless `revive` is set `dead_letter_is_revived_only_on_request`
    /// - MUST change nothing without `revive` where there is a job in any state: neither its due time nor its lane, nor
    ///   may a running one run once more `safety_net_changes_nothing_where_a_job_is`
    /// - MUST NOT deliver before the delay is over `delayed_job_waits`
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>>;

    /// Takes due jobs of one lane under a lease.
    ///
    /// # Contract
    /// - MUST NOT give a job to two workers while a lease holds `no_job_is_delivered_twice_while_reserved`
    /// - MUST deliver again, with one more crash counted, a job that was not settled in time
    ///   `lapsed_reservation_is_delivered_again`
    /// - MUST deliver such a job at once, and as urgent as the most urgent request during its run, which it meets
    ///   `request_before_a_crash_is_kept`
    /// - MUST deliver the most urgent priority first, then the earliest due time `urgent_job_comes_first`
    /// - MUST keep lanes apart `lanes_are_reserved_apart`
    /// - MUST say when the next job of the lane becomes due `next_due_is_reported`
    /// - MUST answer a request [`again`](Reserve::again) with the jobs of the lane that its token holds, their leases
    ///   renewed, and reserve no others if there are any `reserve_again_gives_the_same_jobs`
    async fn reserve(&self, reserve: Reserve) -> Result<Reservation>;

    /// Extends reservations, from now. Says for each whether the token still holds it.
    ///
    /// # Contract
    /// - MUST NOT extend a reservation under another token `extend_needs_the_token`
    async fn extend(&self, jobs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>>;

    /// Ends reservations.
    ///
    /// # Contract
    /// - MUST do nothing without the token `settle_needs_the_token`
    /// - MUST queue a job that is to run once more, whatever the settlement `running_job_runs_once_more`
    /// - MUST count errors on retry and forget them when done `errors_are_counted_until_done`
    /// - MUST keep a dead letter with its error until it is requeued or discarded `dead_letter_keeps_its_error`
    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>>;

    /// Puts dead letters back, with their counters at zero. Says how many there were.
    async fn requeue(&self, ids: &[EntryId]) -> Result<u64>;

    /// Forgets jobs that are not running. Says how many there were.
    async fn discard(&self, ids: &[EntryId]) -> Result<u64>;

    /// How many jobs there are in each state.
    async fn counts(&self) -> Result<JobCounts>;

    /// The jobs of a state, page by page.
    ///
    /// # Contract
    /// - MUST list every job that stays in the state `jobs_are_listed`
    async fn list(&self, state: JobState, cursor: Option<Bytes>, limit: usize) -> Result<JobPage>;

    /// The job of an entry, for people; `None` when there is none.
    ///
    /// A running job that was requested meanwhile is found as running, in the lane of the present run. One whose lease
    /// has lapsed may still be found as running, with a lease that ended in the past, until a worker asks for jobs.
    ///
    /// # Contract
    /// - MUST say the present lane, state and time of the job, as [`list`](Self::list) says them
    ///   `found_job_says_where_it_is`
    /// - MUST give the counters that the next reservation would give, and the last error while it is kept
    ///   `found_job_says_how_it_went`
    /// - MUST find a running job as running when it is to run once more `found_job_runs_before_it_runs_once_more`
    /// - MUST find nothing where no job was added, or it was done or discarded `job_that_is_over_is_not_found`
    async fn find(&self, id: &EntryId) -> Result<Option<FoundJob>>;

    /// The queue's report on itself, for [`Inspector::doctor`](crate::inspect::Inspector::doctor). Empty by default.
    async fn examine(&self) -> Result<Examination> {
        Ok(Examination::new("a custom queue"))
    }

    /// Which incarnation of the queue this is: another one whenever acknowledged jobs may be lost, for example after a
    /// crash, a failover or a restored backup. Maintenance asks every few seconds, and looks at all stale entries when
    /// the incarnation is another one. If jobs are lost under the same incarnation, it finds some of their entries
    /// every second.
    ///
    /// # Contract
    /// - MUST stay the same while jobs come and go `incarnation_stays_while_jobs_come_and_go`
    async fn incarnation(&self) -> Result<Incarnation>;

    /// Waits until a job may have become due, at most `timeout`. A hint: it may return without a job, and a hint may be
    /// lost, which is why the timeout bounds it. [`Notifier::notified`] does that where the server can notify.
    ///
    /// # Contract
    /// - MUST return soon after an enqueue without delay `enqueue_wakes_a_waiting_worker`
    /// - MUST return soon after any step of any process queued a job that is due later, since a worker that sleeps
    ///   until another time does not know of it: its next reservation returns the time when that job is due
    ///   `delayed_job_wakes_a_waiting_worker`
    async fn wait(&self, timeout: Duration) -> Result<()>;
}

/// A job to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// The entry.
    pub id: EntryId,
    /// Its lane.
    pub lane: Lane,
    /// 0 is the most urgent; [`USUAL_PRIORITY`] is the one of the jobs that stores write.
    pub priority: u8,
    /// The job is not due before.
    pub delay: Duration,
    /// Whether something happened: a queued job may become due earlier, a running one runs once more, a dead letter
    /// comes back. Without it the request is a safety net, which adds a job only where there is none.
    pub revive: bool,
}

impl NewJob {
    /// A job that is due now.
    #[must_use]
    pub fn now(id: EntryId, lane: Lane) -> Self {
        Self { id, lane, priority: USUAL_PRIORITY, delay: Duration::ZERO, revive: true }
    }
}

/// The outcome of a [`NewJob`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// It is queued.
    Queued,
    /// One was queued already.
    Merged,
    /// One is running, and runs once more.
    Again,
    /// There is a dead letter, and it stays one.
    DeadLetter,
}

/// Asks for jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserve {
    /// The lane.
    pub lane: Lane,
    /// At most so many jobs.
    pub max: usize,
    /// How long each reservation holds unless it is extended.
    pub lease: Duration,
    /// The token that holds the jobs, new for every request except a repeated one.
    pub token: Token,
    /// Whether this repeats a request with the same token whose answer was lost: the queue returns the jobs that it
    /// reserved then.
    pub again: bool,
}

impl Reserve {
    /// A request under a new token.
    #[must_use]
    pub fn new(lane: Lane, max: usize, lease: Duration) -> Self {
        Self { lane, max, lease, token: Token::random(), again: false }
    }

    /// Repeats the request, after its answer was lost.
    #[must_use]
    pub fn again(mut self) -> Self {
        self.again = true;
        self
    }
}

/// Reserved jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reservation {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// When the next one of the lane becomes due, from now; `None` when there is none.
    pub next_due: Option<Duration>,
}

/// A reserved job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The entry.
    pub id: EntryId,
    /// Its lane.
    pub lane: Lane,
    /// The token of the reservation, needed to extend and settle it.
    pub token: Token,
    /// Runs in a row that ended in an error.
    pub errors: u32,
    /// Runs in a row whose worker vanished.
    pub crashes: u32,
}

/// Ends a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The entry.
    pub id: EntryId,
    /// The token of the reservation.
    pub token: Token,
    /// How it went.
    pub end: JobEnd,
}

/// How a job went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEnd {
    /// Done; the counters are forgotten.
    Done,
    /// Handed back without counting an error.
    Release {
        /// It is not due before.
        delay: Duration,
    },
    /// It failed and is tried again.
    Retry {
        /// It is not due before.
        delay: Duration,
        /// The error in one line; queues keep the first 2,000 bytes.
        error: String,
    },
    /// It failed for the last time: it becomes a dead letter, with its error.
    DeadLetter {
        /// The error in one line.
        error: String,
    },
}

/// The outcome of a [`Settlement`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// As asked.
    Settled,
    /// Queued once more, since it was requested while it ran.
    Again,
    /// The token did not hold it any more.
    Lost,
}

/// The states of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Waits for a worker or for its time.
    Queued,
    /// Reserved.
    Running,
    /// Failed for the last time and kept with its error.
    DeadLetter,
}

/// Counts of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JobCounts {
    /// Queued in the propagation lane.
    pub propagation: u64,
    /// Queued in the recompute lane.
    pub recompute: u64,
    /// Running.
    pub running: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

/// A page of jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<ListedJob>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<Bytes>,
}

/// A job in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedJob {
    /// The entry.
    pub id: EntryId,
    /// Due (queued), lease ends (running) or became a dead letter at.
    pub at: Timestamp,
    /// The last error, if there was one.
    pub error: Option<String>,
}

/// The job of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundJob {
    /// Its lane.
    pub lane: Lane,
    /// Its state.
    pub state: JobState,
    /// Due (queued), lease ends (running) or became a dead letter at.
    pub at: Timestamp,
    /// Runs in a row that ended in an error. The one that made it a dead letter does not count.
    pub errors: u32,
    /// Runs in a row whose worker vanished.
    pub crashes: u32,
    /// The last error, if there was one.
    pub error: Option<String>,
}

impl FoundJob {
    /// A job that has not failed; the rest is set by its public fields.
    #[must_use]
    pub fn new(lane: Lane, state: JobState, at: Timestamp) -> Self {
        Self { lane, state, at, errors: 0, crashes: 0, error: None }
    }
}

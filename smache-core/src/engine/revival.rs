//! Jobs that wait for the end of an outage, and dead letters that get another chance.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{Engine, Function};
use crate::{EntryId, FunctionKey, JobState, Result};

/// The longest wait of a job during an outage: afterwards its value is fresh soon.
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// The pause between two log lines on the outage of one function.
const LOGGED: Duration = Duration::from_secs(10);
/// How long a value is stale before its reader looks for a dead letter.
pub(super) const NEGLECTED: Duration = Duration::from_secs(10);
/// The pause between two chances of a dead letter, and between two looks for the dead letters of a function. It doubles
/// for a job that becomes a dead letter again.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LAST_PAUSE: Duration = Duration::from_secs(3600);
/// How many dead letters a process remembers; others wait.
const MOST: usize = 10_000;
/// How many dead letters are listed, and how many of them get a chance at once.
const LOOKED_AT: usize = 1_000;
const AT_ONCE: usize = 100;

/// The start of the error of a job that becomes a dead letter because the data explain its failure.
pub(crate) const PERMANENT: &str = "permanent: ";
/// The start of the error of a job that becomes a dead letter because it may end its process.
pub(crate) const VANISHED: &str = "the worker that ran ";

/// The functions of this process that fail because of an outage.
#[derive(Debug, Default)]
pub(crate) struct Outages(Mutex<HashMap<FunctionKey, Outage>>);

#[derive(Debug, Clone, Copy)]
struct Outage {
    since: Instant,
    logged: Option<Instant>,
}

impl Outages {
    /// How long a job waits whose function has just failed because of an outage, and whether to log it.
    pub(crate) fn wait(&self, function: FunctionKey, first: Duration) -> (Duration, bool) {
        let now = Instant::now();
        let mut outages = lock(&self.0);
        let outage = outages.entry(function).or_insert(Outage { since: now, logged: None });
        let log = outage.logged.is_none_or(|logged| now.duration_since(logged) >= LOGGED);
        if log {
            outage.logged = Some(now);
        }
        (now.duration_since(outage.since).max(first).min(LONGEST_WAIT), log)
    }

    pub(crate) fn is_over(&self, function: FunctionKey) {
        lock(&self.0).remove(&function);
    }
}

/// The dead letters that this process has given another chance.
#[derive(Debug, Default)]
pub(crate) struct Revivals(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    jobs: HashMap<EntryId, Chance>,
    looked: HashMap<FunctionKey, Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Chance {
    given: Instant,
    pause: Duration,
}

impl Revivals {
    /// Whether it is time for another chance of a job.
    fn is_time_for(&self, id: EntryId) -> bool {
        let now = Instant::now();
        let mut state = lock(&self.0);
        if let Some(chance) = state.jobs.get_mut(&id) {
            let waited = now.duration_since(chance.given);
            if waited < chance.pause {
                return false;
            }
            // A job that was well for long starts again with the first pause.
            let pause = if waited > chance.pause * 8 { FIRST_PAUSE } else { (chance.pause * 2).min(LAST_PAUSE) };
            *chance = Chance { given: now, pause };
            return true;
        }
        if state.jobs.len() >= MOST {
            state.jobs.retain(|_, chance| now.duration_since(chance.given) < chance.pause);
        }
        let room = state.jobs.len() < MOST;
        if room {
            state.jobs.insert(id, Chance { given: now, pause: FIRST_PAUSE });
        }
        room
    }

    /// Whether it is time to look for the dead letters of a function.
    fn is_time_to_look(&self, function: FunctionKey) -> bool {
        let now = Instant::now();
        let mut state = lock(&self.0);
        let due = state.looked.get(&function).is_none_or(|looked| now.duration_since(*looked) >= FIRST_PAUSE);
        if due {
            state.looked.insert(function, now);
        }
        due
    }
}

impl Engine {
    /// A reader got a value that has been stale for `stale_for`: a dead letter of its entry gets another chance.
    pub(super) fn revive_for_reader(self: &Arc<Self>, function: &Function, id: EntryId, stale_for: Option<Duration>) {
        if function.lazy || stale_for.is_none_or(|stale| stale < NEGLECTED) || !self.revivals.is_time_for(id) {
            return;
        }
        let engine = Arc::clone(self);
        self.background.spawn_if_possible(async move {
            let revived = async {
                let found = engine.timed("find", engine.queue.find(&id)).await?;
                match found.filter(|job| job.state == JobState::DeadLetter && may_live(job.error.as_deref())) {
                    Some(_) => engine.timed("requeue", engine.queue.requeue(&[id])).await,
                    None => Ok(0),
                }
            };
            if let Err(error) = revived.await {
                tracing::debug!(entry = %id, error = %error.report(), "whether a job is dead is not known");
            }
        });
    }

    /// A job of a function succeeded: dead letters of its other entries get another chance.
    pub(crate) fn look_for_dead_jobs(self: &Arc<Self>, function: &Function) {
        let key = function.key;
        if !self.revivals.is_time_to_look(key) {
            return;
        }
        let engine = Arc::clone(self);
        let name = function.name;
        self.background.spawn_if_possible(async move {
            match engine.revive_all(key).await {
                Ok(0) => {}
                Ok(revived) => {
                    tracing::info!(
                        function = name,
                        revived,
                        "dead letters are tried again: their function succeeds elsewhere"
                    );
                }
                Err(error) => {
                    tracing::debug!(function = name, error = %error.report(), "dead letters are not looked for now");
                }
            }
        });
    }

    async fn revive_all(&self, function: FunctionKey) -> Result<u64> {
        let (mut cursor, mut looked_at) = (None, 0);
        let mut chosen = Vec::new();
        loop {
            let page = self.timed("list", self.queue.list(JobState::DeadLetter, cursor, AT_ONCE)).await?;
            looked_at += page.jobs.len();
            for job in page.jobs {
                let is_of_it = job.id.function() == function && may_live(job.error.as_deref());
                if is_of_it && chosen.len() < AT_ONCE && self.revivals.is_time_for(job.id) {
                    chosen.push(job.id);
                }
            }
            cursor = page.next;
            if cursor.is_none() || looked_at >= LOOKED_AT || chosen.len() >= AT_ONCE {
                break;
            }
        }
        if chosen.is_empty() {
            return Ok(0);
        }
        self.timed("requeue", self.queue.requeue(&chosen)).await
    }
}

/// Whether a dead letter may get another chance by itself.
fn may_live(error: Option<&str>) -> bool {
    error.is_none_or(|error| !error.starts_with(PERMANENT) && !error.starts_with(VANISHED))
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    // Single insertions and removals: whole after a panic.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

//! One job: what to do with an entry, and how the job ends.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::sync::watch;

use super::Policy;
use crate::{
    Error, ErrorKind, Job, JobEnd, Lane, Reserve, Result, Settlement,
    error::Verdict,
    system::{Attempt, Inner, Mode, PERMANENT, Ran, Stored, Unknown, VANISHED, attempt, jittered, overdue, stopped},
};

/// How long a job of an unknown function is left to other programs.
pub(crate) const UNKNOWN: Duration = Duration::from_secs(5);
/// How long a job waits after its backend failed.
const BACKEND_FAILED: Duration = Duration::from_secs(1);

/// Runs a job and says how it ends. With `doubtful` crashes it may be that answers of the queue were lost instead, so
/// that nobody ever had the job: no reason to bury it.
pub(crate) async fn run(
    inner: &Arc<Inner>,
    policy: &Policy,
    job: &Job,
    doubtful: bool,
    cancelled: watch::Receiver<bool>,
) -> JobEnd {
    let mut called_back = cancelled.clone();
    if job.id.is_announcement() {
        return tokio::select! {
            end = overdue(inner, job) => end,
            () = stopped(&mut called_back) => JobEnd::Release { delay: Duration::ZERO },
        };
    }
    let Some(function) = inner.registry.by_key(job.id.function()) else {
        return match inner.judge_unknown(job.id) {
            Unknown::Left => JobEnd::Release { delay: jittered(UNKNOWN) },
            Unknown::Parked(error) => JobEnd::Bury { error },
        };
    };
    if job.crashes >= policy.max_crashes && !doubtful {
        let error = format!("{VANISHED}`{}` vanished {} times in a row", function.name, job.crashes);
        tracing::error!(entry = %job.id, error, "a job is buried");
        return JobEnd::Bury { error };
    }
    let function = Arc::clone(function);
    let flight = inner.flights.join(job.id, {
        let inner = Arc::clone(inner);
        let id = job.id;
        move || attempt(inner, function, id, Mode::Job { stop: cancelled })
    });
    let mine = flight.mine;
    let landed = tokio::select! {
        landed = flight.land() => landed,
        // A run of its own hears of it by itself, and gives its lease back first.
        () = stopped(&mut called_back), if !mine => return JobEnd::Release { delay: Duration::ZERO },
    };
    match landed {
        // A reader's run that this job only joined began before the job did: look again.
        _ if !mine => JobEnd::Release { delay: Duration::ZERO },
        Ok(Attempt::Ran(Ran { stored: Stored::Fresh, .. })) => {
            if let Some(function) = inner.registry.by_key(job.id.function()) {
                inner.look_for_dead_jobs(function);
            }
            JobEnd::Done
        }
        Ok(Attempt::Ran(Ran { stored, .. }) | Attempt::Revalidated { stored, .. }) => match stored {
            Stored::Fresh => JobEnd::Done,
            Stored::Stale(delay) => JobEnd::Release { delay: jittered(delay) },
            Stored::No => JobEnd::Release { delay: jittered(Duration::from_millis(200)) },
        },
        Ok(Attempt::Idle) => JobEnd::Done,
        Ok(Attempt::Hot(remaining)) => JobEnd::Release { delay: remaining },
        Ok(Attempt::Pending) => JobEnd::Release { delay: jittered(Duration::from_millis(40)) },
        Ok(Attempt::Busy(remaining)) => {
            JobEnd::Release { delay: remaining.clamp(Duration::from_millis(10), Duration::from_millis(250)) }
        }
        Err(error) => failed(inner, policy, job, &error),
    }
}

fn failed(inner: &Inner, policy: &Policy, job: &Job, error: &Error) -> JobEnd {
    match error.kind() {
        // The entry went with its entity.
        _ if error.is_gone() => JobEnd::Done,
        ErrorKind::Cancelled => JobEnd::Release { delay: Duration::ZERO },
        _ if error.is_of_backend() && error.is_transient() => {
            tracing::warn!(entry = %job.id, error = %error.report(), "a job waits for its backend");
            JobEnd::Release { delay: jittered(BACKEND_FAILED) }
        }
        // What is away is no failure of the job: it waits for that, for however long, and no attempt is counted.
        _ if error.is_outage() => {
            let (delay, log) = inner.outages.wait(job.id.function(), policy.backoff);
            if log {
                tracing::warn!(entry = %job.id, error = %error.report(), ?delay, "jobs wait for a source");
            }
            JobEnd::Release { delay: jittered(delay) }
        }
        // The same data give it again: nothing is tried until they change.
        _ if error.verdict() == Verdict::Permanent => {
            let function = inner.registry.by_key(job.id.function());
            if function.is_some_and(|function| function.remove_on_permanent) {
                return JobEnd::Done;
            }
            tracing::info!(entry = %job.id, error = %error.report(), "a job ends in an error of the domain");
            JobEnd::Bury { error: format!("{PERMANENT}{}", error.report()) }
        }
        _ if job.errors + 1 >= policy.max_errors => {
            tracing::error!(entry = %job.id, error = %error.report(), "a job failed for the last time and is buried");
            JobEnd::Bury { error: error.report() }
        }
        _ => {
            let delay = backoff(policy, job);
            tracing::warn!(entry = %job.id, error = %error.report(), ?delay, "a job failed and is tried again");
            JobEnd::Retry { delay: jittered(delay), error: error.report() }
        }
    }
}

fn backoff(policy: &Policy, job: &Job) -> Duration {
    policy.backoff.saturating_mul(1 << job.errors.min(20)).min(policy.max_backoff)
}

/// Runs every due job of both lanes once, in this task. Says how many there were.
pub(crate) async fn run_due(inner: &Arc<Inner>) -> Result<u64> {
    let policy = Policy::default();
    let (_never, cancelled) = watch::channel(false);
    let mut ran = 0;
    for lane in Lane::ALL {
        loop {
            let reserve = Reserve::new(lane, policy.batch, policy.lease);
            let reservation = inner.timed("reserve", inner.queue.reserve(reserve)).await?;
            if reservation.jobs.is_empty() {
                break;
            }
            let one = |job: Job| {
                let (policy, cancelled) = (&policy, cancelled.clone());
                async move {
                    let end = run(inner, policy, &job, false, cancelled).await;
                    Settlement { id: job.id, token: job.token, end }
                }
            };
            let settlements = join_all(reservation.jobs.into_iter().map(one)).await;
            ran += settlements.len() as u64;
            inner.timed("settle", inner.queue.settle(&settlements)).await?;
        }
    }
    Ok(ran)
}

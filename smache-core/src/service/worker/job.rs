//! One job: what to do with an entry, and how the job ends.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::sync::watch;

use super::Policy;
use crate::{
    Error, ErrorKind, Job, JobEnd, Lane, Reserve, Result, Settlement,
    backoff::jittered,
    engine::{Engine, Mode, PERMANENT, VANISHED, attempt, stopped},
    error::Verdict,
    service::{intent::overdue, programs::Unknown},
};

/// How long this worker leaves a job of an unknown function to other programs.
pub(crate) const UNKNOWN: Duration = Duration::from_secs(5);
/// How long a job waits after its backend failed.
const BACKEND_FAILED: Duration = Duration::from_secs(1);

/// Runs a job and says how it ends. With `doubtful` the crashes of the job may be lost answers of the queue, so that no
/// worker ever had the job: it does not become a dead letter for them.
pub(crate) async fn run(
    engine: &Arc<Engine>,
    policy: &Policy,
    job: &Job,
    doubtful: bool,
    cancelled: watch::Receiver<bool>,
) -> JobEnd {
    let mut called_back = cancelled.clone();
    if job.id.is_announcement() {
        return tokio::select! {
            end = overdue(engine, job) => end,
            () = stopped(&mut called_back) => JobEnd::Release { delay: Duration::ZERO },
        };
    }
    let Some(function) = engine.registry.by_key(job.id.function()) else {
        return match engine.judge_unknown(job.id) {
            Unknown::Left => JobEnd::Release { delay: jittered(UNKNOWN) },
            Unknown::Parked(error) => JobEnd::DeadLetter { error },
        };
    };
    if job.crashes >= policy.max_crashes && !doubtful {
        let error = format!("{VANISHED}`{}` vanished {} times in a row", function.name, job.crashes);
        tracing::error!(entry = %job.id, error, "a job becomes a dead letter");
        return JobEnd::DeadLetter { error };
    }
    let function = Arc::clone(function);
    let joined = engine.single_flight.join(job.id, {
        let engine = Arc::clone(engine);
        let id = job.id;
        move || attempt(engine, function, id, Mode::Job { stop: cancelled })
    });
    let mine = joined.mine;
    let ended = tokio::select! {
        outcome = joined.outcome() => outcome,
        // A run that this job started watches `cancelled` itself, and gives its lease back first.
        () = stopped(&mut called_back), if !mine => return JobEnd::Release { delay: Duration::ZERO },
    };
    match ended {
        // A reader's run that this job joined began before the job did: the job looks again.
        _ if !mine => JobEnd::Release { delay: Duration::ZERO },
        Ok(attempt) => {
            if attempt.is_recomputed()
                && let Some(function) = engine.registry.by_key(job.id.function())
            {
                engine.look_for_dead_jobs(function);
            }
            attempt.looks_again_in().map_or(JobEnd::Done, |delay| JobEnd::Release { delay })
        }
        Err(error) => failed(engine, policy, job, &error),
    }
}

fn failed(engine: &Engine, policy: &Policy, job: &Job, error: &Error) -> JobEnd {
    match error.kind() {
        // The entry was removed with its entity.
        _ if error.is_gone() => JobEnd::Done,
        ErrorKind::Cancelled => JobEnd::Release { delay: Duration::ZERO },
        _ if error.is_of_backend() && error.is_transient() => {
            tracing::warn!(entry = %job.id, error = %error.report(), "a job waits for its backend");
            JobEnd::Release { delay: jittered(BACKEND_FAILED) }
        }
        // An outage is no failure of the job: the job waits for its end, and no attempt is counted.
        _ if error.is_outage() => {
            let (delay, log) = engine.outages.wait(job.id.function(), policy.backoff);
            if log {
                tracing::warn!(entry = %job.id, error = %error.report(), ?delay, "jobs wait for a source");
            }
            JobEnd::Release { delay: jittered(delay) }
        }
        // The same data give the same error: the job ends until they change.
        _ if error.verdict() == Verdict::Permanent => {
            let function = engine.registry.by_key(job.id.function());
            if function.is_some_and(|function| function.remove_on_permanent) {
                return JobEnd::Done;
            }
            tracing::info!(entry = %job.id, error = %error.report(), "a job ends in an error of the domain");
            JobEnd::DeadLetter { error: format!("{PERMANENT}{}", error.report()) }
        }
        _ if job.errors + 1 >= policy.max_errors => {
            tracing::error!(entry = %job.id, error = %error.report(), "a job failed for the last time and becomes a dead letter");
            JobEnd::DeadLetter { error: error.report() }
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

/// Runs every due job of both lanes once, in this task. Returns how many there were.
pub(crate) async fn run_due(engine: &Arc<Engine>) -> Result<u64> {
    let policy = Policy::default();
    let (_never, cancelled) = watch::channel(false);
    let mut ran = 0;
    for lane in Lane::ALL {
        loop {
            let reserve = Reserve::new(lane, policy.batch, policy.lease);
            let reservation = engine.timed("reserve", engine.queue.reserve(reserve)).await?;
            if reservation.jobs.is_empty() {
                break;
            }
            let one = |job: Job| {
                let policy = &policy;
                let cancelled = cancelled.clone();
                async move {
                    let end = run(engine, policy, &job, false, cancelled).await;
                    Settlement { id: job.id, token: job.token, end }
                }
            };
            let settlements = join_all(reservation.jobs.into_iter().map(one)).await;
            ran += settlements.len() as u64;
            engine.timed("settle", engine.queue.settle(&settlements)).await?;
        }
    }
    Ok(ran)
}

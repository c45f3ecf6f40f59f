//! Jobs in rows.

#[cfg(feature = "postgres")]
use smache_core::{Enqueued, JobEnd, Settled, support::limits::ERROR_BYTES};
use smache_core::{FoundJob, JobCounts, JobPage, JobState, ListedJob, Result, support::log_damaged_job};

#[cfg(feature = "postgres")]
use crate::cells::{clip, millis};
use crate::{
    cells::{Cells, count, few, lane, timestamp},
    error::{corrupt, failed},
    page::Listing,
};

const UNREADABLE: &str = "a job cannot be read: remove the row of `smache_jobs`";

/// Warns of jobs that belong to no entry: the reconciler queues other ones for their entries.
pub(crate) fn damaged_jobs(jobs: usize) {
    log_damaged_job("smache_jobs", jobs as u64);
}

/// How a job ended, as steps name it: 0 done, 1 released, 2 retried, 3 dead letter.
#[cfg(feature = "postgres")]
pub(crate) struct End {
    pub(crate) kind: i64,
    pub(crate) delay: i64,
    pub(crate) error: Option<String>,
}

#[cfg(feature = "postgres")]
impl End {
    pub(crate) fn of(end: &JobEnd) -> Self {
        match end {
            JobEnd::Done => Self { kind: 0, delay: 0, error: None },
            JobEnd::Release { delay } => Self { kind: 1, delay: millis(*delay), error: None },
            JobEnd::Retry { delay, error } => {
                Self { kind: 2, delay: millis(*delay), error: Some(clip(error, ERROR_BYTES)) }
            }
            JobEnd::DeadLetter { error } => Self { kind: 3, delay: 0, error: Some(clip(error, ERROR_BYTES)) },
        }
    }
}

pub(crate) fn state_number(state: JobState) -> i64 {
    match state {
        JobState::Queued => 0,
        JobState::Running => 1,
        JobState::DeadLetter => 2,
    }
}

#[cfg(feature = "postgres")]
pub(crate) fn enqueued(answer: i64) -> Result<Enqueued> {
    Ok(match answer {
        0 => Enqueued::Queued,
        1 => Enqueued::Merged,
        2 => Enqueued::Again,
        3 => Enqueued::DeadLetter,
        _ => return Err(crate::error::unexpected("enqueue")),
    })
}

#[cfg(feature = "postgres")]
pub(crate) fn settled(answer: i64) -> Result<Settled> {
    Ok(match answer {
        0 => Settled::Settled,
        1 => Settled::Again,
        2 => Settled::Lost,
        _ => return Err(crate::error::unexpected("settle")),
    })
}

/// From rows of state, lane and number.
pub(crate) fn counts<R: Cells>(rows: &[R]) -> Result<JobCounts, sqlx::Error> {
    let mut counts = JobCounts::default();
    for row in rows {
        let number = row.int(2)?.map_or(0, count);
        match (row.int(0)?, row.int(1)?) {
            (Some(0), Some(0)) => counts.propagation += number,
            (Some(0), _) => counts.recompute += number,
            (Some(1), _) => counts.running += number,
            _ => counts.dead_letters += number,
        }
    }
    Ok(counts)
}

/// From rows of id, time and error.
pub(crate) fn listed<R: Cells>(rows: &[R], limit: usize, database: &str) -> Result<JobPage> {
    let listing = Listing::read(rows, limit, database)?;
    let jobs = listing.rows.iter().map(|(id, row)| {
        let at = row.int(1)?;
        let error = row.text(2)?;
        Ok(ListedJob { id: *id, at: timestamp(at.unwrap_or(0)), error })
    });
    let jobs = jobs.collect::<Result<_, sqlx::Error>>().map_err(|error| failed(error, database))?;
    Ok(JobPage { jobs, next: listing.next })
}

/// From a row of lane, state, time, errors, crashes and error.
pub(crate) fn found<R: Cells>(row: &R, database: &str) -> Result<FoundJob> {
    let cell = |place| row.int(place).map_err(|error| failed(error, database));
    let lane = lane(cell(0)?).ok_or_else(|| corrupt(UNREADABLE))?;
    let state = match cell(1)? {
        Some(0) => JobState::Queued,
        Some(1) => JobState::Running,
        Some(2) => JobState::DeadLetter,
        _ => return Err(corrupt(UNREADABLE)),
    };
    let mut found = FoundJob::new(lane, state, timestamp(cell(2)?.unwrap_or(0)));
    found.errors = few(cell(3)?.unwrap_or(0));
    found.crashes = few(cell(4)?.unwrap_or(0));
    found.error = row.text(5).map_err(|error| failed(error, database))?;
    Ok(found)
}

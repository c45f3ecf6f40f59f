//! The ends of jobs.

use smache_core::{JobEnd, Result, Settled, Settlement};

use super::{Statement, Step};
use crate::{cells::Cells, job::End};

const HELD: &str = "SELECT lane, priority, errors, crashes, again_at, again_lane, again_priority, error FROM smache_jobs \
     WHERE ns = $1 AND id = $2 AND state = 1 AND token = $3";
const DONE: &str = "DELETE FROM smache_jobs WHERE ns = $1 AND id = $2";
const DEAD_LETTER: &str =
    "UPDATE smache_jobs SET state = 2, at = $3, token = NULL, error = $4 WHERE ns = $1 AND id = $2";
const BACK: &str = "UPDATE smache_jobs SET state = 0, at = $3, token = NULL, lane = $4, priority = $5, errors = $6, \
     crashes = $7, error = $8, again_at = NULL, again_lane = NULL, again_priority = NULL WHERE ns = $1 AND id = $2";

impl Step<'_> {
    pub(super) async fn settle(&mut self, settlement: &Settlement) -> Result<Settled> {
        let ns = self.ns;
        let now = self.now;
        let id = settlement.id.as_bytes().to_vec();
        let token = settlement.token.as_bytes().to_vec();
        let Some(job) = self.row(HELD, |query| query.bind(ns).bind(id.clone()).bind(token)).await? else {
            return Ok(Settled::Lost);
        };
        let cell = |place| job.int(place).map_err(|error| self.failed(error));
        let kept = |place| cell(place).map(Option::unwrap_or_default);
        let lane = kept(0)?;
        let priority = kept(1)?;
        let again_at = cell(4)?;
        let again_lane = cell(5)?.unwrap_or(lane);
        let again_priority = cell(6)?.unwrap_or(priority);
        let mut errors = kept(2)?;
        let crashes = kept(3)?;
        let mut error = job.text(7).map_err(|error| self.failed(error))?;
        let End { delay, error: its_error, .. } = End::of(&settlement.end);
        let own = now.saturating_add(delay);
        let (due, anew) = match (&settlement.end, again_at) {
            (JobEnd::Done, None) => {
                self.execute(DONE, |query| query.bind(ns).bind(id)).await?;
                return Ok(Settled::Settled);
            }
            (JobEnd::DeadLetter { .. }, None) => {
                self.execute(DEAD_LETTER, |query| query.bind(ns).bind(id).bind(now).bind(its_error)).await?;
                return Ok(Settled::Settled);
            }
            // A change restarts a dead letter.
            (JobEnd::Done | JobEnd::DeadLetter { .. }, Some(again)) => (again, true),
            (JobEnd::Release { .. }, again) => (again.map_or(own, |again| again.min(own)), false),
            (JobEnd::Retry { .. }, again) => {
                errors += 1;
                error = its_error;
                // A job that fails backs off although its data changed.
                (again.map_or(own, |again| again.max(own)), false)
            }
        };
        let bind = |query: Statement| {
            query
                .bind(ns)
                .bind(id)
                .bind(due)
                .bind(if anew { again_lane } else { lane.min(again_lane) })
                .bind(priority.min(again_priority))
                .bind(if anew { 0 } else { errors })
                .bind(if anew { 0 } else { crashes })
                .bind(error.filter(|_| !anew))
        };
        self.execute(BACK, bind).await?;
        self.notify();
        Ok(if again_at.is_some() { Settled::Again } else { Settled::Settled })
    }
}

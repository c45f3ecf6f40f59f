//! Runs that wait for runs of other processes.

use smache_core::{EntryId, RecordWaits, Result, support::limits::WAITS};

use super::{SqliteStore, Statement, Step, runs::bytes};
use crate::{
    cells::{Cells, millis},
    waits::leading_on,
};

const FORGET_WAITS: &str = "DELETE FROM smache_waits WHERE ns = $1 AND until <= $2";
const END_WAIT: &str = "DELETE FROM smache_waits WHERE ns = $1 AND id = $2 AND token = $3 AND child = $4";
const NOTE_WAIT: &str = "INSERT INTO smache_waits (ns, id, token, child, awaited, until) \
     SELECT r.ns, r.id, r.token, c.id, c.token, $5 FROM smache_runs r JOIN smache_runs c ON c.ns = r.ns AND c.id = $4 \
     WHERE r.ns = $1 AND r.id = $2 AND r.token = $3";
const BOUND_WAITS: &str = "DELETE FROM smache_waits WHERE ns = $1 AND id = $2 AND number NOT IN \
     (SELECT number FROM smache_waits WHERE ns = $1 AND id = $2 ORDER BY number DESC LIMIT $3)";
const ALL_WAITS: &str = "SELECT w.id, w.child FROM smache_waits w \
     JOIN smache_runs r ON r.ns = w.ns AND r.id = w.id AND r.token = w.token \
     JOIN smache_runs c ON c.ns = w.ns AND c.id = w.child AND c.token = w.awaited \
     WHERE w.ns = $1 ORDER BY w.number";

impl SqliteStore {
    pub(super) async fn record_waits_of_runs(&self, wait: &RecordWaits) -> Result<Vec<(EntryId, EntryId)>> {
        let now = self.link.now();
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, now).await?;
        let ns = step.ns;
        let until = now + millis(wait.lease);
        step.execute(FORGET_WAITS, |query| query.bind(ns).bind(now)).await?;
        for run in &wait.runs {
            let of = |query: Statement| {
                let query = query.bind(ns).bind(bytes(&run.id)).bind(run.token.as_bytes().to_vec());
                query.bind(bytes(&run.child))
            };
            step.execute(END_WAIT, of).await?;
            if until > now {
                step.execute(NOTE_WAIT, |query| of(query).bind(until)).await?;
                step.execute(BOUND_WAITS, |query| query.bind(ns).bind(bytes(&run.id)).bind(WAITS as i64)).await?;
            }
        }
        let mut all = Vec::new();
        for row in step.rows(ALL_WAITS, |query| query.bind(ns)).await? {
            let cell = |place| row.bytes(place).map(Option::unwrap_or_default).map_err(|error| step.failed(error));
            all.push((EntryId::from_slice(&cell(0)?)?, EntryId::from_slice(&cell(1)?)?));
        }
        step.commit().await?;
        Ok(leading_on(wait.child, &all))
    }
}

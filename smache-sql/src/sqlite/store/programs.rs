//! The register of programs.

use smache_core::{ProgramStep, Programs, Result};

use super::{SqliteStore, Step};
use crate::{
    cells::{millis, timestamp},
    programs::{name_of, read},
};

const KNOWN: &str = "SELECT 1 FROM smache_feeds WHERE ns = $1 AND name = $2";
const REGISTER: &str = "INSERT INTO smache_feeds (ns, name, holder, fence, until) VALUES ($1, $2, $3, 0, $4) \
     ON CONFLICT (ns, name) DO UPDATE SET holder = excluded.holder, until = excluded.until";
const REMOVE: &str = "DELETE FROM smache_feeds WHERE ns = $1 AND name = $2 AND until <= $3";
const PROGRAMS: &str = "SELECT name, until, holder FROM smache_feeds WHERE ns = $1 AND name GLOB 'smache:program:*'";

impl SqliteStore {
    pub(super) async fn step_of_programs(&self, programs: &ProgramStep) -> Result<Programs> {
        let now = self.link.now();
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, now).await?;
        let (ns, mut known) = (step.ns, false);
        if let Some(program) = &programs.register {
            let name = name_of(&program.id);
            let notes = program.notes.to_vec();
            known = step.row(KNOWN, |query| query.bind(ns).bind(name.clone())).await?.is_some();
            let until = now + millis(program.lease);
            step.execute(REGISTER, |query| query.bind(ns).bind(name).bind(notes).bind(until)).await?;
        }
        for id in &programs.remove {
            step.execute(REMOVE, |query| query.bind(ns).bind(name_of(id)).bind(now)).await?;
        }
        let rows = step.rows(PROGRAMS, |query| query.bind(ns)).await?;
        let all = rows.iter().map(|row| read(row, 0)).collect::<std::result::Result<Vec<_>, _>>();
        let all = all.map_err(|error| self.link.failed(error))?;
        step.commit().await?;
        Ok(Programs { now: timestamp(now), known, programs: all.into_iter().flatten().collect() })
    }
}

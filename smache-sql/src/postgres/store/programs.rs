//! The register of programs.

use smache_core::{ProgramStep, Programs, Result};

use super::{PostgresStore, Statement};
use crate::{
    cells::{Cells, millis, timestamp},
    error::{failed, unexpected},
    programs::{name_of, read},
};

const PROGRAMS: &str = concat!("SELECT * FROM smache_programs(", name!(), ", $2, $3, $4, $5)");

impl PostgresStore {
    pub(super) async fn step_of_programs(&self, step: &ProgramStep) -> Result<Programs> {
        let remove: Vec<String> = step.remove.iter().map(name_of).collect();
        let register = step.register.as_ref();
        let bind = |query: Statement| {
            let query = query.bind(self.name.clone()).bind(register.map(|program| name_of(&program.id)));
            let query = query.bind(register.map(|program| program.notes.to_vec()));
            query.bind(register.map(|program| millis(program.lease))).bind(remove.clone())
        };
        let rows = self.link.step("programs", PROGRAMS, bind).await?;
        let read_all = || {
            let Some(first) = rows.first() else { return Ok(None) };
            let now = timestamp(first.int(0)?.unwrap_or_default());
            let known = first.int(1)? == Some(1);
            let mut programs = Vec::with_capacity(rows.len());
            for row in &rows {
                programs.extend(read(row, 2)?);
            }
            Ok(Some(Programs { now, known, programs }))
        };
        read_all().map_err(|error| failed(error, &self.link.server))?.ok_or_else(|| unexpected("programs"))
    }
}

//! The register of programs.

use smache_core::{ProgramStep, Programs, RegisteredProgram, Timestamp};

use super::state::Cache;

impl Cache {
    pub(crate) fn programs(&mut self, step: ProgramStep, now: Timestamp) -> Programs {
        let mut known = false;
        if let Some(program) = step.register {
            let registered =
                RegisteredProgram { id: program.id, until: now.after(program.lease), notes: program.notes };
            known = self.programs.insert(program.id, registered).is_some();
        }
        for id in &step.remove {
            if self.programs.get(id).is_some_and(|program| program.until <= now) {
                self.programs.remove(id);
            }
        }
        Programs { now, known, programs: self.programs.values().cloned().collect() }
    }
}

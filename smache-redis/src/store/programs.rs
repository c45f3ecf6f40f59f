//! The register of programs: a hash by their ids.

use smache_core::{ProgramStep, Programs, RegisteredProgram, Result, Token};

use super::RedisStore;
use crate::{reply::Reply, script::PROGRAMS};

impl RedisStore {
    pub(super) async fn step_of_programs(&self, step: &ProgramStep) -> Result<Programs> {
        let mut call = PROGRAMS.call(&self.keys);
        match &step.register {
            Some(program) => call.arg(program.id.as_bytes()).arg(program.notes.as_ref()).millis(program.lease),
            None => call.arg("").arg("").arg(0),
        };
        for id in &step.remove {
            call.arg(id.as_bytes());
        }
        let mut reply = Reply::new(call.operation(), self.link.call(&call).await?)?;
        let now = reply.time()?;
        let known = reply.number()? == 1;
        let mut programs = Vec::new();
        while !reply.is_empty() {
            let id = reply.bytes()?;
            let until = reply.time()?;
            let notes = reply.bytes()?;
            programs.push(RegisteredProgram { id: Token::from_slice(&id)?, until, notes: notes.into() });
        }
        Ok(Programs { now, known, programs })
    }
}

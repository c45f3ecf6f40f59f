//! The register of programs.

use bytes::Bytes;
use smache_core::{ProgramStep, Programs, RegisteredProgram, Result, Timestamp, Token};

use crate::{
    codec::{Reader, Writer},
    keys::Role,
    step::Step,
};

pub(super) fn encode(until: Timestamp, notes: &Bytes) -> Bytes {
    Writer::new().time(until).bytes(notes).done()
}

pub(super) fn decode(bytes: &Bytes) -> Option<(Timestamp, Bytes)> {
    Reader::read(bytes, |reader| Some((reader.time()?, reader.bytes()?)))
}

impl Step<'_> {
    fn program_key(&self, id: &Token) -> Bytes {
        self.keys().of(Role::Program, &[id.as_bytes()])
    }

    /// Unreadable parts of the register count as absent, and as ended if the step removes them: a live program writes
    /// them again.
    pub(super) async fn programs(&mut self, step: &ProgramStep) -> Result<Programs> {
        let mut known = false;
        if let Some(program) = &step.register {
            let key = self.program_key(&program.id);
            known = self.get(&key).await?.is_some();
            self.put(key, encode(self.now.after(program.lease), &program.notes));
        }
        for id in &step.remove {
            let key = self.program_key(id);
            let found = self.get(&key).await?;
            let holds = |bytes: &Bytes| decode(bytes).is_some_and(|(until, _)| until > self.now);
            if found.is_some_and(|bytes| !holds(&bytes)) {
                self.delete(key);
            }
        }
        let all = self.scan(&self.keys().range(Role::Program, &[]), usize::MAX).await?;
        let program = |(key, value): &(Bytes, Bytes)| {
            let id = Token::from_slice(self.keys().rest(key)).ok()?;
            let (until, notes) = decode(value)?;
            Some(RegisteredProgram { id, until, notes })
        };
        Ok(Programs { now: self.now, known, programs: all.iter().filter_map(program).collect() })
    }
}

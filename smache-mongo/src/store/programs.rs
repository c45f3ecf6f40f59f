//! The register of programs: a document for each, beside that of the namespace.

use mongodb::bson::doc;
use smache_core::{ProgramStep, Programs, RegisteredProgram, Result};

use super::Inner;
use crate::{
    expression::{after, literal, now},
    keys::{STATE, binary},
    namespace::{and, look},
    record::Fields,
};

const UNREADABLE: &str = "a program in the register cannot be read";

impl Inner {
    pub(super) async fn step_of_programs(&self, step: &ProgramStep) -> Result<Programs> {
        const STEP: &str = "programs";
        let mut known = false;
        if let Some(program) = &step.register {
            let written = doc! {
                "program": literal(binary(program.id.as_bytes().to_vec())),
                "until": after(program.lease),
                "notes": literal(binary(program.notes.to_vec())),
            };
            let id = self.keys.program(&program.id);
            let written = self.link.state.update_one(doc! { "_id": id }, vec![doc! { "$set": written }]).upsert(true);
            known = self.link.run(STEP, async { written.await }).await?.matched_count > 0;
        }
        if !step.remove.is_empty() {
            let ids: Vec<String> = step.remove.iter().map(|id| self.keys.program(id)).collect();
            let lapsed = doc! { "_id": { "$in": ids }, "$expr": { "$lte": ["$until", now()] } };
            self.link.run(STEP, async { self.link.state.delete_many(lapsed).await }).await?;
        }
        // Hexadecimal digits follow the prefix.
        let from = self.keys.programs();
        let to = format!("{}~", self.keys.programs());
        let all = and(STATE, vec![doc! { "$match": { "_id": { "$gte": from, "$lt": to } } }]);
        let seen = look(&self.link, &self.keys, STEP, vec![all]).await?;
        let mut programs = Vec::with_capacity(seen.more.len());
        for document in &seen.more {
            let fields = Fields::new(document, UNREADABLE);
            // A program writes its damaged document again.
            let (Ok(id), Ok(notes)) = (fields.token("program"), fields.bytes("notes")) else { continue };
            let until = fields.time("until").unwrap_or_default();
            programs.push(RegisteredProgram { id, until, notes: notes.to_vec().into() });
        }
        Ok(Programs { now: seen.namespace.now, known, programs })
    }
}

//! Parked jobs, whose function no living program has. They are dead letters with a special reason, so that no worker
//! reserves them, and return to the queue when a program with their function works.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    EntryId, FunctionKey, JobState, ListedJob, ProgramStep, Result, Token,
    call_key::describe,
    counters::count,
    engine::{Engine, Notes, Owner, PARKED, is_parked},
};

/// How many jobs are listed and put back in one step.
const STEP: usize = 500;

/// The end of a job whose function this program does not have.
pub(crate) enum Unknown {
    /// Other programs get it.
    Left,
    /// It is parked, with this error.
    Parked(String),
}

impl Engine {
    /// Judges a job whose function this program does not have, and logs each function once.
    pub(crate) fn judge_unknown(self: &Arc<Self>, id: EntryId) -> Unknown {
        count(&self.tally.unknown_jobs);
        let function = id.function();
        let owner = self.programs.owner(function);
        if owner != Owner::Nobody {
            if self.programs.tells(function, false) {
                tracing::warn!(
                    entry = %id, ?owner,
                    "jobs of a function, version or declaration that this program does not have are left to other programs"
                );
            }
            return Unknown::Left;
        }
        count(&self.tally.parked_jobs);
        if self.programs.tells(function, true) {
            let fix = "start a program that has it, or remove what is left of it with `forget`";
            tracing::warn!(entry = %id, fix, "jobs are parked: no program that is alive has their function");
            if !self.programs.is_registered(function) {
                let engine = Arc::clone(self);
                self.background.spawn_if_possible(async move {
                    if let Err(error) = engine.adopt(id).await {
                        tracing::debug!(entry = %id, error = %error.report(), "an unknown function is not in the register");
                    }
                });
            }
        }
        Unknown::Parked(format!("{PARKED}no program that is alive has its function"))
    }

    /// Adds a function that no registered program has to the register, as if its program had ended now: so its entries
    /// are removed in time, and `forget` finds them by its name.
    async fn adopt(&self, id: EntryId) -> Result<()> {
        let Some(record) = self.timed("inspect", self.store.inspect(&id)).await? else { return Ok(()) };
        let described = describe(&id, &record.call);
        let Some((name, _)) = described.split_once('(') else { return Ok(()) };
        let mut token = [0; Token::LEN];
        token[..FunctionKey::LEN].copy_from_slice(id.function().as_bytes());
        let notes = Notes {
            program: "an unknown program".to_owned(),
            works: false,
            functions: vec![(id.function().to_string(), name.to_owned())],
        };
        let register = Some(notes.registration(Token::from_bytes(token), Duration::ZERO));
        self.programs_step(ProgramStep { register, remove: Vec::new() }).await.map(drop)
    }

    /// Puts the parked jobs of this program's functions back into the queue.
    pub(crate) async fn return_parked(&self) -> Result<u64> {
        let (mut cursor, mut returned): (Option<Bytes>, u64) = (None, 0);
        loop {
            let page = self.timed("list", self.queue.list(JobState::DeadLetter, cursor, STEP)).await?;
            let known = |job: &&ListedJob| is_parked(job) && self.registry.by_key(job.id.function()).is_some();
            let ids: Vec<EntryId> = page.jobs.iter().filter(known).map(|job| job.id).collect();
            if !ids.is_empty() {
                returned += self.timed("requeue", self.queue.requeue(&ids)).await?;
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        if returned > 0 {
            tracing::info!(jobs = returned, "parked jobs return: this program has their functions");
        }
        Ok(returned)
    }
}

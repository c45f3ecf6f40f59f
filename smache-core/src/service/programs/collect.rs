//! Collecting, as a part of maintenance: removes the entries of functions that no program has had for long, and ended
//! programs that add nothing to the register.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    FunctionKey, ProgramStep, Programs, Result, Token,
    engine::{Engine, Functions, Notes},
};

/// The pause between two looks at the register.
const PERIOD: Duration = Duration::from_secs(60);
/// How long one round works at most.
const ROUND: Duration = Duration::from_secs(1);
/// How many ended programs are kept; beyond it the first to end are removed.
const MOST_ENDED: usize = 1_000;

/// The progress of a collection.
#[derive(Debug, Default)]
pub(crate) struct Collection {
    looked: Option<Instant>,
    functions: VecDeque<FunctionKey>,
    cursor: Option<Bytes>,
    in_this_pass: u64,
    removed: u64,
    /// The programs that leave the register when their functions are collected.
    over: Vec<Token>,
}

/// Ended programs whose functions all belong to another program that is alive or has ended later.
fn redundant(programs: &Programs, functions: &Functions) -> Vec<Token> {
    let mut ended: Vec<_> = programs.programs.iter().filter(|program| program.until <= programs.now).collect();
    // The first to end come first; the id decides between equal times.
    ended.sort_by_key(|program| (program.until, program.id));
    let too_many = ended.len().saturating_sub(MOST_ENDED);
    let mut redundant: Vec<Token> = ended.iter().take(too_many).map(|program| program.id).collect();
    for program in ended.into_iter().skip(too_many) {
        let later = |key: &FunctionKey| functions.0.get(key).is_some_and(|known| known.until > program.until);
        // Another release may read the notes that this one cannot.
        if Notes::read(&program.notes).is_some_and(|notes| notes.keys().all(|(key, _)| later(&key))) {
            redundant.push(program.id);
        }
    }
    redundant
}

impl Engine {
    /// One bounded piece of the collection.
    pub(crate) async fn collect(&self, collection: &mut Collection) -> Result<()> {
        let began = Instant::now();
        if collection.functions.is_empty() {
            if collection.looked.is_some_and(|looked| looked.elapsed() < PERIOD) {
                return Ok(());
            }
            collection.looked = Some(began);
            let programs = self.programs_step(ProgramStep::default()).await?;
            let functions = Functions::of(&programs);
            let over = |until: crate::Timestamp| until.after(self.settings.forget_after) <= programs.now;
            let remove = redundant(&programs, &functions);
            collection.functions =
                functions.0.iter().filter(|(_, known)| over(known.until)).map(|(key, _)| *key).collect();
            collection.over = programs.programs.iter().filter(|one| over(one.until)).map(|one| one.id).collect();
            if !remove.is_empty() {
                self.programs_step(ProgramStep { register: None, remove }).await?;
            }
        }
        while let Some(&function) = collection.functions.front() {
            if began.elapsed() >= ROUND {
                return Ok(());
            }
            let (removed, next) = self.forget_page(function, collection.cursor.take()).await?;
            collection.in_this_pass += removed;
            collection.removed += removed;
            collection.cursor = next;
            if collection.cursor.is_none() && std::mem::take(&mut collection.in_this_pass) == 0 {
                collection.functions.pop_front();
                if let removed @ 1.. = std::mem::take(&mut collection.removed) {
                    tracing::info!(%function, removed, "the entries of a function that no program has any more are removed");
                }
            }
        }
        let remove = std::mem::take(&mut collection.over);
        if !remove.is_empty() {
            self.programs_step(ProgramStep { register: None, remove }).await?;
        }
        Ok(())
    }
}

//! The programs of a namespace, and findings for the doctor: entries and jobs of functions that no living program has.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Inspector;
use crate::{
    Dependency, Finding, FunctionKey, JobState, Page, ProgramStep, Result, Severity, Timestamp,
    call_key::describe,
    engine::{Engine, Functions, Notes, is_parked},
};

/// How many pages of jobs are listed, and how many jobs a page has.
const PAGES: usize = 10;
const STEP: usize = 500;
/// How many functions are checked for entries.
const MOST: usize = 20;

/// A program in the register of its namespace: one process, from the start to the end of its system.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Program {
    /// Its name: that of `Builder::program`, or of the process.
    pub name: String,
    /// Whether it is alive, as far as the store knows.
    pub alive: bool,
    /// Until when it counts as alive, or when it ended.
    pub until: Timestamp,
    /// Whether it had a worker at its last registration.
    pub works: bool,
    /// Its functions, as `greeting@1`.
    pub functions: Vec<String>,
}

impl Inspector {
    /// The programs of the namespace: those that are alive, and those that have ended with functions that no other one
    /// has.
    ///
    /// # Errors
    /// The store's errors.
    pub async fn programs(&self) -> Result<Vec<Program>> {
        let programs = self.engine.programs_step(ProgramStep::default()).await?;
        let read = |program: &crate::RegisteredProgram| {
            let notes = Notes::read(&program.notes)?;
            let functions = notes.functions.into_iter().map(|(_, name)| name).collect();
            let alive = program.until > programs.now;
            Some(Program { name: notes.program, alive, until: program.until, works: notes.works, functions })
        };
        Ok(programs.programs.iter().filter_map(read).collect())
    }
}

impl Engine {
    pub(super) async fn examine_programs(&self) -> Result<Vec<Finding>> {
        let programs = self.programs_step(ProgramStep::default()).await?;
        let functions = Functions::of(&programs);
        let mut findings = Vec::new();
        let parked = self.parked_by_function().await?;
        for (function, &(jobs, id)) in &parked {
            let name = match functions.0.get(function) {
                Some(known) => known.name.clone(),
                None => {
                    let record = self.timed("inspect", self.store.inspect(&id)).await?;
                    let described = record.map(|record| describe(&id, &record.call));
                    described
                        .map_or_else(|| function.to_string(), |call| call.split('(').next().unwrap_or("").to_owned())
                }
            };
            let problem = format!("{jobs} jobs are parked: no program that is alive has the function `{name}`");
            let fix = format!("start a program that has it, or remove what is left of it with `forget(\"{name}\")`");
            findings.push(Finding::new(Severity::Warning, problem, fix));
        }
        let gone = functions.0.iter().filter(|(key, known)| known.until <= programs.now && !parked.contains_key(key));
        for (key, known) in gone.take(MOST) {
            let page = Page::first(1);
            let left = self.timed("dependants", self.store.dependants(&Dependency::function(*key), page)).await?;
            if !left.entries.is_empty() {
                let name = &known.name;
                let since = programs.now.since(known.until);
                let problem = format!(
                    "no program has the function `{name}` any more, for {since:?}, and entries of it are stored"
                );
                let fix =
                    format!("`forget(\"{name}\")` removes them at once, and maintenance when `forget_after` is over");
                findings.push(Finding::new(Severity::Advice, problem, fix));
            }
        }
        Ok(findings)
    }

    /// How many parked jobs each function has, with one of them.
    async fn parked_by_function(&self) -> Result<BTreeMap<FunctionKey, (u64, crate::EntryId)>> {
        let mut parked = BTreeMap::new();
        let mut cursor: Option<Bytes> = None;
        for _ in 0..PAGES {
            let page = self.timed("list", self.queue.list(JobState::DeadLetter, cursor, STEP)).await?;
            for job in page.jobs.iter().filter(|job| is_parked(job)) {
                parked.entry(job.id.function()).or_insert((0, job.id)).0 += 1;
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(parked)
    }
}

//! This program's place in the register of programs, and its last view of the register.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Engine, Function, Registry};
use crate::{FunctionKey, ListedJob, ProgramStep, Programs, Registration, Result, Timestamp, Token};

/// How long jobs wait for a program that has ended, or for programs that the register may have lost to register again.
const GRACE: Duration = Duration::from_secs(30);
/// The pause between two looks at the register for unknown jobs.
const LOOK: Duration = Duration::from_secs(1);
/// How many functions are remembered as reported in the log.
const MOST_LOGGED: usize = 10_000;

/// The start of a parked job's error.
pub(crate) const PARKED: &str = "parked: ";

/// Whether a dead letter is a parked one.
pub(crate) fn is_parked(job: &ListedJob) -> bool {
    job.error.as_deref().is_some_and(|error| error.starts_with(PARKED))
}

/// The notes of a program on itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Notes {
    pub(crate) program: String,
    pub(crate) works: bool,
    /// The keys of its functions in hexadecimal digits, and their readable names.
    pub(crate) functions: Vec<(String, String)>,
}

impl Notes {
    pub(crate) fn read(notes: &[u8]) -> Option<Self> {
        serde_json::from_slice(notes).ok()
    }

    pub(crate) fn registration(&self, id: Token, lease: Duration) -> Registration {
        let notes = serde_json::to_vec(self).expect("texts are JSON").into();
        Registration { id, notes, lease }
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = (FunctionKey, &str)> {
        self.functions.iter().filter_map(|(key, name)| Some((parse(key)?, name.as_str())))
    }
}

fn parse(digits: &str) -> Option<FunctionKey> {
    let number = u64::from_str_radix(digits, 16).ok()?;
    Some(FunctionKey::from_bytes(number.to_be_bytes()))
}

/// The owner of a function that this program does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A living program with a worker.
    Living,
    /// A living program without a worker, or a program that may be back soon or may not have registered yet.
    Expected,
    /// No program.
    Nobody,
}

/// This program's place in the register, and its last view of it.
pub(crate) struct Register {
    pub(crate) id: Token,
    pub(crate) name: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    looked: Option<Instant>,
    /// Since when the register has had this program without a break.
    whole_since: Option<Instant>,
    seen: Option<Seen>,
    told: HashSet<(FunctionKey, bool)>,
}

/// The functions of other programs, as of the last look.
#[derive(Debug, Default)]
struct Seen {
    living: HashSet<FunctionKey>,
    expected: HashSet<FunctionKey>,
    /// The functions of all programs in the register.
    known: HashSet<FunctionKey>,
    /// A living program whose notes this release cannot read may have any function.
    unreadable: bool,
}

/// The name of a program without a name.
fn process() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    let program = path.file_stem().map_or_else(|| "a program".into(), |name| name.to_string_lossy().into_owned());
    let host = std::env::var("HOSTNAME").map(|host| format!(" on {host}")).unwrap_or_default();
    format!("{program} ({}{host})", std::process::id())
}

impl Register {
    pub(crate) fn of(name: Option<String>) -> Self {
        Self { id: Token::random(), name: name.unwrap_or_else(process), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whole values only: right after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn notes(&self, registry: &Registry, works: bool) -> Notes {
        let named =
            |function: &Arc<Function>| (function.key.to_string(), format!("{}@{}", function.name, function.version));
        Notes { program: self.name.clone(), works, functions: registry.iter().map(named).collect() }
    }

    pub(crate) fn has_looked(&self) -> bool {
        self.state().seen.is_some()
    }

    /// Whether it is time to look at the register once more.
    fn is_time_to_look(&self) -> bool {
        let mut state = self.state();
        let due = state.looked.is_none_or(|looked| looked.elapsed() >= LOOK);
        if due {
            state.looked = Some(Instant::now());
        }
        due
    }

    /// Remembers the functions in the register.
    pub(crate) fn remember(&self, programs: &Programs) {
        let mut seen = Seen::default();
        for program in programs.programs.iter().filter(|program| program.id != self.id) {
            let alive = program.until > programs.now;
            let Some(notes) = Notes::read(&program.notes) else {
                seen.unreadable |= alive;
                continue;
            };
            let keys: Vec<FunctionKey> = notes.keys().map(|(key, _)| key).collect();
            seen.known.extend(&keys);
            if notes.works && alive {
                seen.living.extend(&keys);
            } else if alive || notes.works && program.until.after(GRACE) > programs.now {
                seen.expected.extend(&keys);
            }
        }
        let here = programs.programs.iter().any(|program| program.id == self.id);
        let mut state = self.state();
        state.whole_since = if here { state.whole_since.or_else(|| Some(Instant::now())) } else { None };
        state.seen = Some(seen);
    }

    /// The register had lost this program: it may lack other programs, too.
    pub(crate) fn was_lost(&self) {
        self.state().whole_since = Some(Instant::now());
    }

    /// The owner of a function, as of the last look.
    pub(crate) fn owner(&self, function: FunctionKey) -> Owner {
        let state = self.state();
        let Some(seen) = &state.seen else { return Owner::Expected };
        let settled = state.whole_since.is_some_and(|since| since.elapsed() >= GRACE);
        if seen.living.contains(&function) {
            Owner::Living
        } else if seen.unreadable || !settled || seen.expected.contains(&function) {
            Owner::Expected
        } else {
            Owner::Nobody
        }
    }

    pub(crate) fn is_registered(&self, function: FunctionKey) -> bool {
        self.state().seen.as_ref().is_none_or(|seen| seen.known.contains(&function))
    }

    /// Whether the log still has to name a function as unknown, or as one with parked jobs.
    pub(crate) fn tells(&self, function: FunctionKey, parked: bool) -> bool {
        let mut state = self.state();
        state.told.len() < MOST_LOGGED && state.told.insert((function, parked))
    }
}

/// The functions in the register, by their keys.
#[derive(Debug, Default)]
pub(crate) struct Functions(pub(crate) HashMap<FunctionKey, Known>);

#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) name: String,
    /// The latest time until which a program with it counts as alive.
    pub(crate) until: Timestamp,
    pub(crate) program: String,
}

impl Functions {
    pub(crate) fn of(programs: &Programs) -> Self {
        let mut functions = HashMap::new();
        for program in &programs.programs {
            let Some(notes) = Notes::read(&program.notes) else { continue };
            for (key, name) in notes.keys() {
                let known = Known { name: name.to_owned(), until: program.until, program: notes.program.clone() };
                let kept: &mut Known = functions.entry(key).or_insert_with(|| known.clone());
                if kept.until < known.until {
                    *kept = known;
                }
            }
        }
        Self(functions)
    }
}

impl Engine {
    /// A step on the register, whose answer this program remembers.
    pub(crate) async fn programs_step(&self, step: ProgramStep) -> Result<Programs> {
        let programs = self.timed("programs", self.store.programs(step)).await?;
        self.programs.remember(&programs);
        Ok(programs)
    }

    /// Looks at the register because of unknown jobs, at most once per [`LOOK`].
    pub(crate) async fn look_at_programs(&self) {
        if !self.programs.is_time_to_look() {
            return;
        }
        if let Err(error) = self.programs_step(ProgramStep::default()).await {
            tracing::debug!(error = %error.report(), "the register of programs cannot be read now");
        }
    }
}

#[cfg(test)]
mod tests;

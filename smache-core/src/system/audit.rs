//! The auditor: do functions read what they declare?

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{Engine, Function, Smache, counters::count};
use crate::{Error, ErrorKind, FunctionKey, Result, SourceId, cx::Tracked};

/// The reaction to a function that reads a source which it does not declare. Results are right either way if it reads
/// through its context: declarations serve people, drawings and the reads by a function's own client.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Strictness {
    /// No reaction.
    #[default]
    Lenient,
    /// Logs a warning for a share of the runs, from 0 to 1. For production.
    Sampled(f64),
    /// The run fails with [`ErrorKind::Undeclared`]. For tests.
    Strict,
}

/// The reads and calls of a function's runs in this process.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub(crate) runs: u64,
    /// Sources that the function itself or its nested calls read.
    pub(crate) read: BTreeSet<SourceId>,
    /// Sources that the function itself read and does not declare.
    pub(crate) undeclared: BTreeSet<SourceId>,
    pub(crate) calls: BTreeSet<FunctionKey>,
}

/// Whether functions read what they declare, as far as this process has run them. See [`Smache::audit`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Audit {
    /// Every registered function, by name.
    pub functions: Vec<FunctionAudit>,
}

/// The reads of one function beside its declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionAudit {
    /// Its id.
    pub name: String,
    /// How often it ran to its end.
    pub runs: u64,
    /// Sources that it read and does not declare.
    pub undeclared: Vec<SourceId>,
    /// Sources that it declares and that none of its runs read. Empty for a function that did not run.
    pub unread: Vec<SourceId>,
}

impl Smache {
    /// Compares the reads of the functions in this process so far with their declarations.
    ///
    /// ```
    /// # async fn example(smache: &smache_core::Smache) {
    /// // At the end of a test that has run the functions:
    /// smache.audit().assert_clean();
    /// # }
    /// ```
    #[must_use]
    pub fn audit(&self) -> Audit {
        let mut functions: Vec<FunctionAudit> = self.engine.registry.iter().map(|function| function.audit()).collect();
        functions.sort_by(|one, other| one.name.cmp(&other.name));
        Audit { functions }
    }
}

impl Audit {
    /// Whether no function that ran read an undeclared source or left a declared one unread.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.functions.iter().all(|function| function.undeclared.is_empty() && function.unread.is_empty())
    }

    /// Asserts it, for tests.
    ///
    /// # Panics
    /// When it is not clean, with the names of the functions and the sources.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{self}");
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return f.write_str("every function that ran reads what it declares");
        }
        f.write_str("functions do not read what they declare:")?;
        for function in &self.functions {
            for source in &function.undeclared {
                write!(f, "\n  `{}` reads `{source}` and does not declare it: add `reads(…)`", function.name)?;
            }
            for source in &function.unread {
                let runs = function.runs;
                let fix = "take it out of the declaration, or say `cx.reads::<…>()` where its own client reads it";
                write!(f, "\n  `{}` declares `{source}` and read it in none of {runs} runs: {fix}", function.name)?;
            }
        }
        Ok(())
    }
}

impl Function {
    pub(crate) fn observed(&self) -> MutexGuard<'_, Observed> {
        // Sets and a number: right to use after any panic.
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn audit(&self) -> FunctionAudit {
        let observed = self.observed();
        let unread = self.sources.iter().filter(|source| observed.runs > 0 && !observed.read.contains(*source));
        FunctionAudit {
            name: self.name.to_owned(),
            runs: observed.runs,
            undeclared: observed.undeclared.iter().cloned().collect(),
            unread: unread.cloned().collect(),
        }
    }
}

impl Engine {
    /// Notes the reads and calls of a run.
    ///
    /// # Errors
    /// [`ErrorKind::Undeclared`] in strict mode.
    pub(crate) fn observe(&self, function: &Function, tracked: &Tracked) -> Result<()> {
        let undeclared: Vec<&SourceId> =
            tracked.own().iter().filter(|source| !function.sources.contains(source)).collect();
        {
            let mut observed = function.observed();
            observed.runs += 1;
            for source in tracked.own().iter().chain(tracked.inherited()) {
                if !observed.read.contains(source) {
                    observed.read.insert(source.clone());
                }
            }
            observed.undeclared.extend(undeclared.iter().copied().cloned());
            observed.calls.extend(tracked.child_calls().iter().map(|child| child.id.function()));
        }
        if undeclared.is_empty() {
            return Ok(());
        }
        count(&self.tally.undeclared);
        let names: Vec<&str> = undeclared.iter().map(|source| source.as_str()).collect();
        let (name, names) = (function.name, names.join("`, `"));
        match self.settings.strictness {
            Strictness::Lenient => Ok(()),
            Strictness::Sampled(share) => {
                if self.sampler.is_hit(share) {
                    tracing::warn!(
                        function = name,
                        sources = names,
                        "a function reads what it does not declare: add `reads(…)` to it"
                    );
                }
                Ok(())
            }
            Strictness::Strict => {
                let fix = "add `reads(…)` with their types to it";
                let message =
                    format!("the computed function `{name}` reads `{names}`, which it does not declare: {fix}");
                Err(Error::new(ErrorKind::Undeclared, message))
            }
        }
    }
}

/// Selects a share of the events, evenly.
#[derive(Debug, Default)]
pub(crate) struct Sampler(AtomicU64);

impl Sampler {
    fn is_hit(&self, share: f64) -> bool {
        let nth = self.0.fetch_add(1, Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2⁵² warnings")]
        let passed = |nth: u64| (nth as f64 * share).floor();
        passed(nth + 1) > passed(nth) || (nth == 0 && share > 0.0)
    }
}

/// The run of the current task, for reads that the framework does not do itself: see [`note_read`].
pub(crate) mod current {
    use crate::Cx;

    tokio::task_local! {
        pub(crate) static RUN: Cx;
    }
}

/// Notes that the computed function of the current task read a source by its own client. For hooks in database clients.
/// Answers whether there is such a function and a source of that name.
///
/// The result does not depend on the source by this: it is for [strict mode](crate::Builder::strict) and the
/// [auditor](Smache::audit).
pub fn note_read(source: &str) -> bool {
    current::RUN.try_with(|cx| cx.note_read(source)).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_even_and_begins_with_the_first() {
        let hits = |share| {
            let sampler = Sampler::default();
            (0..1_000).filter(|_| sampler.is_hit(share)).collect::<Vec<_>>()
        };
        assert_eq!(hits(0.0).len(), 0);
        assert_eq!(hits(1.0).len(), 1_000);
        let tenth = hits(0.1);
        assert_eq!((tenth[0], tenth.len()), (0, 101));
    }
}

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

/// What happens when a function reads a source that it does not declare. Results are right either way as long as it reads
/// through its context: declarations are for people, drawings and what a function reads by its own client.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Strictness {
    /// Nothing.
    #[default]
    Lenient,
    /// A share of the runs is looked at, from 0 to 1, and a warning is logged. For production.
    Sampled(f64),
    /// The run fails with [`ErrorKind::Undeclared`]. For tests.
    Strict,
}

/// What the runs of a function in this process have read and called.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub(crate) runs: u64,
    /// By the function itself or by its nested calls.
    pub(crate) read: BTreeSet<SourceId>,
    /// By the function itself, of what it does not declare.
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

/// What is known of one function.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionAudit {
    /// Its id.
    pub name: String,
    /// How often it ran to its end.
    pub runs: u64,
    /// Sources that it read and does not declare.
    pub undeclared: Vec<SourceId>,
    /// Sources that it declares and that none of its runs read. Nothing for a function that did not run.
    pub unread: Vec<SourceId>,
}

impl Smache {
    /// What the functions of this process have read so far, beside what they declare.
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
    /// Whether no function that ran read anything undeclared or left a declared source unread.
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
    /// Notes what a run has read.
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

/// Takes a share of what comes along, evenly.
#[derive(Debug, Default)]
pub(crate) struct Sampler(AtomicU64);

impl Sampler {
    fn is_hit(&self, share: f64) -> bool {
        let nth = self.0.fetch_add(1, Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "after 2⁵² warnings nobody counts")]
        let passed = |nth: u64| (nth as f64 * share).floor();
        passed(nth + 1) > passed(nth) || (nth == 0 && share > 0.0)
    }
}

/// A read that the framework does not do itself, of the run that this task is in: see [`note_read`].
pub(crate) mod current {
    use crate::Cx;

    tokio::task_local! {
        pub(crate) static RUN: Cx;
    }
}

/// Notes that whatever computed function this task runs at the moment read a source by a client of its own. For hooks in
/// database clients; says whether there was such a function and a source of that name.
///
/// It makes nothing depend on the source: it is for [strict mode](crate::Builder::strict) and the [auditor](Smache::audit).
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

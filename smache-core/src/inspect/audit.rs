//! The auditor: do functions read what they declare?

use std::fmt;

use super::Inspector;
use crate::{SourceId, engine::Function};

/// Whether functions read what they declare, as far as this process has run them. See [`Inspector::audit`].
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

impl Inspector {
    /// Compares the reads of the functions in this process so far with their declarations.
    ///
    /// ```
    /// # async fn example(smache: &smache_core::Smache) {
    /// // At the end of a test that has run the functions:
    /// smache.inspect().audit().assert_clean();
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

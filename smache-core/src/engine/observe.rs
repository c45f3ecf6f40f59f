//! The reads and calls of runs beside the declarations of their functions.

use std::{
    collections::BTreeSet,
    sync::{
        MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{Engine, Function};
use crate::{
    Error, ErrorKind, FunctionKey, Result, SourceId, counters::count, settings::Strictness, tracking::Tracked,
};

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

impl Function {
    pub(crate) fn observed(&self) -> MutexGuard<'_, Observed> {
        // Sets and a number: right to use after any panic.
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
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
        let name = function.name;
        let names = names.join("`, `");
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

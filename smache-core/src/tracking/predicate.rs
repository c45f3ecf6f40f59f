//! Predicates as dependencies of a run.

use std::sync::Arc;

use super::Cx;
use crate::{DataSource, Dependency, Filter, Result, SourceId};

impl Cx {
    /// A predicate for a query that the function makes itself. Until the engine knows how the source compares values,
    /// the result depends on the whole source, too.
    pub(crate) fn track_own_predicate(&self, source: &Arc<dyn DataSource>, filter: Filter) -> Result<()> {
        let Some(route) = self.engine.routes.of(source.id()) else { return Ok(()) };
        match route.comparisons() {
            Some(comparisons) => self.uses_predicate(source.id(), &filter.compared_by(&comparisons)?),
            None => {
                self.engine.ask_comparisons(source);
                self.tracked().direct(Dependency::source(source.id()));
                self.uses_predicate(source.id(), &filter)
            }
        }
    }

    fn uses_predicate(&self, source: &SourceId, filter: &Filter) -> Result<()> {
        let leaves = self.leaves_of(source, filter, true)?;
        let mut tracked = self.tracked();
        tracked.reads(source);
        leaves.into_iter().for_each(|leaf| tracked.direct(leaf));
        Ok(())
    }

    /// The dependencies of a predicate. With `wildcard` they include every change that does not show the entity before
    /// and after.
    pub(super) fn leaves_of(&self, source: &SourceId, filter: &Filter, wildcard: bool) -> Result<Vec<Dependency>> {
        let Some(route) = self.engine.routes.of(source) else { return Ok(Vec::new()) };
        let (index, dependency) = filter.dependency(source, &route.indexes)?;
        let mut leaves = vec![dependency, Dependency::incomparable(&index.id, source)];
        leaves.extend(wildcard.then(|| Dependency::wildcard(source)));
        if route.fed {
            self.tracked().source(&index.id);
        }
        Ok(leaves)
    }
}

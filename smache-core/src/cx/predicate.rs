//! Predicates as dependencies of a run.

use std::sync::Arc;

use super::Cx;
use crate::{DataSource, Dependency, Filter, Result, SourceId};

impl Cx {
    /// A predicate that is used beside a query of the function's own. Until it is known how the source compares, the whole
    /// source is a dependency, too.
    pub(crate) fn track_own_predicate(&self, source: &Arc<dyn DataSource>, filter: Filter) -> Result<()> {
        let Some(route) = self.inner.routes.of(source.id()) else { return Ok(()) };
        match route.comparisons() {
            Some(comparisons) => self.track_predicate(source.id(), &filter.compared_by(&comparisons)?, true),
            None => {
                self.inner.ask_comparisons(source);
                self.tracked().direct(Dependency::source(source.id()));
                self.track_predicate(source.id(), &filter, true)
            }
        }
    }

    /// A predicate, with every change that does not tell the entity before and after unless `blind` is false.
    pub(crate) fn track_predicate(&self, source: &SourceId, filter: &Filter, blind: bool) -> Result<()> {
        let Some(route) = self.inner.routes.of(source) else { return Ok(()) };
        let (index, dependency) = filter.dependency(source, &route.indexes)?;
        let mut tracked = self.tracked();
        tracked.reads(source);
        tracked.direct(dependency);
        tracked.direct(Dependency::incomparable(&index.id, source));
        if blind {
            tracked.direct(Dependency::blind(source));
        }
        if route.fed {
            tracked.source(&index.id);
        }
        Ok(())
    }
}

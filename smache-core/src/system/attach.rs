//! Sources that only the application itself changes, on a store that was replaced.

use std::sync::Arc;

use super::Engine;
use crate::{Lookup, SourceId};

impl Engine {
    /// The store is another one than the application sources were attached on: they start anew on it.
    pub(crate) fn attach_again(self: &Arc<Self>, lookup: &Lookup) {
        let here = |source: &SourceId| {
            lookup
                .validity
                .sources
                .get(source)
                .is_some_and(|validity| validity.caught_up_on.as_ref() == Some(&lookup.incarnation))
        };
        // Each of them: another program may have attached those that it has too.
        let mut sources = self.application_sources();
        sources.retain(|source| !here(source));
        if sources.is_empty() {
            return;
        }
        let engine = Arc::clone(self);
        self.background.spawn(async move {
            if let Err(error) = engine.timed("attach", engine.store.attach(&sources)).await {
                tracing::warn!(error = %error.report(), "the replaced store does not confirm yet");
            }
        });
    }

    /// The sources that only the application itself changes.
    pub(crate) fn application_sources(&self) -> Vec<SourceId> {
        let feedless = self.sources.iter().filter(|(_, source)| source.feed().is_none()).map(|(id, _)| id.clone());
        std::iter::once(SourceId::application()).chain(feedless).collect()
    }
}

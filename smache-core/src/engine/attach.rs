//! Sources that only the application itself changes, after the store was replaced.

use std::sync::Arc;

use super::Engine;
use crate::{Lookup, SourceId};

impl Engine {
    /// Attaches the application sources again, if the store has another incarnation than at their last attach.
    pub(crate) fn attach_again(self: &Arc<Self>, lookup: &Lookup) {
        let here = |source: &SourceId| {
            lookup
                .validity
                .sources
                .get(source)
                .is_some_and(|validity| validity.caught_up_on.as_ref() == Some(&lookup.incarnation))
        };
        // Checks each of them: another program may have attached some of the same sources.
        let mut sources = self.application_sources();
        sources.retain(|source| !here(source));
        if sources.is_empty() {
            return;
        }
        let engine = Arc::clone(self);
        self.background.spawn(async move {
            if let Err(error) = engine.timed("attach", engine.store.attach(&sources)).await {
                tracing::warn!(error = %error.report(), "the sources of the application are not attached on the replaced store yet");
            }
        });
    }

    /// The sources that only the application itself changes.
    pub(crate) fn application_sources(&self) -> Vec<SourceId> {
        let feedless = self.sources.iter().filter(|(_, source)| source.feed().is_none()).map(|(id, _)| id.clone());
        std::iter::once(SourceId::application()).chain(feedless).collect()
    }
}

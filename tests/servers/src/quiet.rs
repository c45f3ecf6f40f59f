//! A source whose changes only the application reports.

use std::sync::Arc;

use async_trait::async_trait;
use smache::{
    Builder, Result, SourceId,
    backend::{ChangeFeed, DataSource, EntityKey, EntityKind, Image, Topic},
};

/// Another source, without its feed.
#[derive(Debug)]
pub struct Quiet<S>(pub S);

#[async_trait]
impl<S: DataSource> DataSource for Quiet<S> {
    fn id(&self) -> &SourceId {
        self.0.id()
    }

    fn kind(&self) -> EntityKind {
        self.0.kind()
    }

    async fn load(&self, keys: &[EntityKey]) -> Result<Vec<Option<Image>>> {
        self.0.load(keys).await
    }

    async fn list(&self) -> Result<Vec<Image>> {
        self.0.list().await
    }

    fn feed(&self) -> Option<(Arc<dyn ChangeFeed>, Topic)> {
        None
    }
}

/// A system with that source, without its feed if it is to be quiet.
pub(crate) fn add(builder: Builder, source: impl DataSource, quiet: bool) -> Builder {
    if quiet { builder.source(Quiet(source)) } else { builder.source(source) }
}

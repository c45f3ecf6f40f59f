//! A source behind a pointer.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Capability, ChangeFeed, DataSource, EntityKey, EntityKind, Image, Topic};
use crate::{Comparisons, Examination, Filter, Result, SourceId};

/// A source with several owners, or one that was picked at run time.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: DataSource + ?Sized> DataSource for Arc<S> {
    fn id(&self) -> &SourceId {
        (**self).id()
    }

    fn kind(&self) -> EntityKind {
        (**self).kind()
    }

    async fn load(&self, keys: &[EntityKey]) -> Result<Vec<Option<Image>>> {
        (**self).load(keys).await
    }

    async fn list(&self) -> Result<Vec<Image>> {
        (**self).list().await
    }

    async fn find(&self, filter: &Filter) -> Result<Vec<Image>> {
        (**self).find(filter).await
    }

    async fn comparisons(&self) -> Result<Comparisons> {
        (**self).comparisons().await
    }

    async fn examine(&self) -> Result<Examination> {
        (**self).examine().await
    }

    fn capabilities(&self) -> &[Capability] {
        (**self).capabilities()
    }

    fn feed(&self) -> Option<(Arc<dyn ChangeFeed>, Topic)> {
        (**self).feed()
    }
}

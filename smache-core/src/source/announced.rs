//! A source whose writers announce their changes.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Capability, ChangeFeed, DataSource, EntityKey, EntityKind, Image, Topic};
use crate::{Comparisons, Examination, Filter, Guarantee, Result, SourceId};

/// A source without a feed of which every writer announces its changes by [`Smache::intend`](crate::Smache::intend),
/// before its commits. [`doctor`](crate::inspect::Inspector::doctor) reports it as *intent* instead of *best effort*.
#[derive(Debug, Clone)]
pub struct Announced<S>(S);

impl<S: DataSource> Announced<S> {
    /// A source whose writers announce their changes.
    pub fn new(source: S) -> Self {
        Self(source)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: DataSource> DataSource for Announced<S> {
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

    async fn find(&self, filter: &Filter) -> Result<Vec<Image>> {
        self.0.find(filter).await
    }

    async fn comparisons(&self) -> Result<Comparisons> {
        self.0.comparisons().await
    }

    async fn examine(&self) -> Result<Examination> {
        let examination = self.0.examine().await?;
        Ok(if self.0.feed().is_none() { examination.guarantee(Guarantee::Intent) } else { examination })
    }

    fn capabilities(&self) -> &[Capability] {
        self.0.capabilities()
    }

    fn feed(&self) -> Option<(Arc<dyn ChangeFeed>, Topic)> {
        self.0.feed()
    }
}

//! Sources that behave like another one, except in the parts that a test changes.
//!
//! ```
//! use std::sync::Arc;
//!
//! use async_trait::async_trait;
//! use smache_core::{DataSource, EntityKey, Error, ErrorKind, Image, Result};
//! use smache_testkit::layer::{Layered, SourceLayer};
//!
//! /// A database that cannot be read; its feed still delivers.
//! #[derive(Debug)]
//! struct Unreadable(Arc<dyn DataSource>);
//!
//! #[async_trait]
//! impl SourceLayer for Unreadable {
//!     fn inner(&self) -> &dyn DataSource {
//!         &*self.0
//!     }
//!
//!     async fn load(&self, _: &[EntityKey]) -> Result<Vec<Option<Image>>> {
//!         Err(Error::new(ErrorKind::Unavailable, "the database is being moved"))
//!     }
//! }
//!
//! # fn example(users: Arc<dyn DataSource>) -> impl DataSource {
//! Layered::new(Unreadable(users))
//! # }
//! ```

use std::{fmt, fmt::Debug, sync::Arc};

use async_trait::async_trait;
use smache_core::{
    Batch, Capability, ChangeFeed, ChangeStream, Comparisons, DataSource, EntityKey, EntityKind, Examination, FeedId,
    Filter, Image, Position, Result, SourceId, Start, Topic,
};

/// A source on top of another one. Every method does by default the same as the inner source's.
#[async_trait]
pub trait SourceLayer: Debug + Send + Sync + 'static {
    /// The source below.
    fn inner(&self) -> &dyn DataSource;

    /// As [`DataSource::kind`].
    fn kind(&self) -> EntityKind {
        self.inner().kind()
    }

    /// As [`DataSource::load`].
    async fn load(&self, keys: &[EntityKey]) -> Result<Vec<Option<Image>>> {
        self.inner().load(keys).await
    }

    /// As [`DataSource::list`].
    async fn list(&self) -> Result<Vec<Image>> {
        self.inner().list().await
    }

    /// As [`DataSource::find`].
    async fn find(&self, filter: &Filter) -> Result<Vec<Image>> {
        self.inner().find(filter).await
    }

    /// As [`DataSource::comparisons`].
    async fn comparisons(&self) -> Result<Comparisons> {
        self.inner().comparisons().await
    }

    /// As [`DataSource::examine`].
    async fn examine(&self) -> Result<Examination> {
        self.inner().examine().await
    }

    /// As [`DataSource::capabilities`].
    fn capabilities(&self) -> &[Capability] {
        self.inner().capabilities()
    }

    /// Whether the source has a feed; without one only the application reports changes.
    fn has_feed(&self) -> bool {
        true
    }

    /// As [`ChangeFeed::open`], of the inner source's feed.
    async fn open(&self, feed: &dyn ChangeFeed, topics: &[Topic], start: Start) -> Result<Box<dyn ChangeStream>> {
        feed.open(topics, start).await
    }

    /// As [`ChangeStream::next`], of the inner source's stream.
    async fn next(&self, stream: &mut dyn ChangeStream) -> Result<Batch> {
        stream.next().await
    }
}

/// A source with a layer on top.
pub struct Layered<L>(Arc<L>);

impl<L: SourceLayer> Layered<L> {
    /// Puts a layer on the source below it.
    pub fn new(layer: L) -> Self {
        Self(Arc::new(layer))
    }
}

impl<L> Clone for Layered<L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<L: Debug> Debug for Layered<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Layered").field(&self.0).finish()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<L: SourceLayer> DataSource for Layered<L> {
    fn id(&self) -> &SourceId {
        self.0.inner().id()
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
        self.0.examine().await
    }

    fn capabilities(&self) -> &[Capability] {
        self.0.capabilities()
    }

    fn feed(&self) -> Option<(Arc<dyn ChangeFeed>, Topic)> {
        if !self.0.has_feed() {
            return None;
        }
        let (feed, topic) = self.0.inner().feed()?;
        Some((Arc::new(LayeredFeed { layer: Arc::clone(&self.0), feed }), topic))
    }
}

#[derive(Debug)]
struct LayeredFeed<L> {
    layer: Arc<L>,
    feed: Arc<dyn ChangeFeed>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<L: SourceLayer> ChangeFeed for LayeredFeed<L> {
    fn id(&self) -> &FeedId {
        self.feed.id()
    }

    async fn open(&self, topics: &[Topic], start: Start) -> Result<Box<dyn ChangeStream>> {
        let stream = self.layer.open(&*self.feed, topics, start).await?;
        Ok(Box::new(LayeredStream { layer: Arc::clone(&self.layer), stream }))
    }

    async fn head(&self) -> Result<Option<Position>> {
        self.feed.head().await
    }
}

#[derive(Debug)]
struct LayeredStream<L> {
    layer: Arc<L>,
    stream: Box<dyn ChangeStream>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<L: SourceLayer> ChangeStream for LayeredStream<L> {
    fn position(&self) -> Position {
        self.stream.position()
    }

    async fn next(&mut self) -> Result<Batch> {
        self.layer.next(&mut *self.stream).await
    }
}

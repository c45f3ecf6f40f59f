//! The options of a source.

use std::{fmt, marker::PhantomData, time::Duration};

use mongodb::{Collection, bson::RawDocumentBuf};
use serde::de::DeserializeOwned;
use smache_core::{EntityType, FeedId, support::limits::SOURCE_TIMEOUT};

use crate::MongoSource;

/// The options of a [`MongoSource`].
#[must_use = "a builder does nothing until `build`"]
pub struct MongoSourceBuilder<T> {
    pub(crate) collection: Collection<RawDocumentBuf>,
    pub(crate) timeout: Duration,
    pub(crate) feed: Option<FeedId>,
    pub(crate) pre_images: bool,
    entity: PhantomData<fn() -> T>,
}

impl<T: EntityType + DeserializeOwned> MongoSourceBuilder<T> {
    pub(crate) fn new<C: Send + Sync>(collection: &Collection<C>) -> Self {
        let collection = collection.clone_with_type();
        Self { collection, timeout: SOURCE_TIMEOUT, feed: None, pre_images: false, entity: PhantomData }
    }

    /// The bound of a load, of every round trip of a listing, and of opening the change stream; 10 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The persisted name of the feed, `mongo:` and the name of the database by default.
    ///
    /// Sources of one database share one change stream under this name. Name it when one namespace watches databases of
    /// the same name on two servers; every source of the same database must then get the same name.
    pub fn feed(mut self, feed: FeedId) -> Self {
        self.feed = Some(feed);
        self
    }

    /// Declares that the collection keeps pre-images (`changeStreamPreAndPostImages: { enabled: true }`); false by
    /// default.
    ///
    /// It is a hint: it changes nothing in the database, and results are right with either value. With it [`Cx::find`]
    /// depends on the predicate alone, without it also on every document that it found. When a change arrives without
    /// its pre-image nevertheless, everything with a predicate on the collection goes stale.
    ///
    /// [`Cx::find`]: smache_core::Cx::find
    pub fn pre_images(mut self, kept: bool) -> Self {
        self.pre_images = kept;
        self
    }

    /// The source. Connects to nothing.
    #[must_use]
    pub fn build(self) -> MongoSource<T> {
        MongoSource::from_builder(self)
    }
}

impl<T> fmt::Debug for MongoSourceBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoSourceBuilder")
            .field("collection", &self.collection.namespace().to_string())
            .field("timeout", &self.timeout)
            .field("feed", &self.feed)
            .field("pre_images", &self.pre_images)
            .finish()
    }
}

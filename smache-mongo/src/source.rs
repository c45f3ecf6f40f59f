//! A collection as a source of entities.

use std::{collections::HashMap, fmt, marker::PhantomData, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use mongodb::{
    Collection,
    bson::{Bson, Document, RawDocumentBuf, doc},
    options::{Collation, CollectionOptions, FindOptions, ReadConcern, ReadPreference, SelectionCriteria},
};
use serde::de::DeserializeOwned;
use smache_core::{
    Capability, ChangeFeed, Condition, DataSource, EntityKey, EntityKind, EntityType, ErrorKind, Examination, Filter,
    Image, Result, SourceId, Topic,
};

use crate::{
    config::MongoSourceBuilder,
    document::{TopicReader, id_of, image_of, value_of},
    error::bounded,
    examine::examine,
    feed::MongoFeed,
};

/// The most ids in one query: servers limit the size of a query, and some look a long list up in quadratic time.
const IDS_A_QUERY: usize = 200;

/// The documents that a listing fetches in a round trip.
const DOCUMENTS_A_BATCH: u32 = 1_000;

/// A collection as the source of the entities `T`, and its database's change stream as the feed.
///
/// The [guide](crate::guide) says what it needs of the server and what it promises.
pub struct MongoSource<T> {
    id: SourceId,
    collection: Collection<RawDocumentBuf>,
    reader: Arc<TopicReader>,
    feed: Arc<MongoFeed>,
    timeout: Duration,
    pre_images: bool,
    entity: PhantomData<fn() -> T>,
}

impl<T: EntityType + DeserializeOwned> MongoSource<T> {
    /// The source of the entities of a collection, whatever the type of its handle. Does not connect.
    ///
    /// Loads go to the primary with read concern majority, whatever read preference and concerns the handle has. Its
    /// client must not be connected to one member of a set of several (`directConnection`): the driver then reads from
    /// that member, even after it has become a secondary.
    ///
    /// A [`SOURCE`](EntityType::SOURCE) that is not a valid name is a compile error.
    #[must_use]
    pub fn new<C: Send + Sync>(collection: &Collection<C>) -> Self {
        Self::builder(collection).build()
    }

    /// A source with options.
    pub fn builder<C: Send + Sync>(collection: &Collection<C>) -> MongoSourceBuilder<T> {
        MongoSourceBuilder::new(collection)
    }

    pub(crate) fn from_builder(builder: MongoSourceBuilder<T>) -> Self {
        let id = SourceId::of::<T>();
        let namespace = builder.collection.namespace();
        let database = builder.collection.client().database(&namespace.db);
        // A read from a secondary, or of a write that may be rolled back, misses a delivered change.
        let options = CollectionOptions::builder()
            .read_concern(ReadConcern::majority())
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .build();
        Self {
            id,
            collection: database.collection_with_options(&namespace.coll, options),
            reader: Arc::new(TopicReader::new::<T>(database.clone())),
            feed: Arc::new(MongoFeed::new(database, builder.feed, builder.timeout)),
            timeout: builder.timeout,
            pre_images: builder.pre_images,
            entity: PhantomData,
        }
    }

    /// The entity of a document; an error names the collection as well.
    fn read(&self, document: &RawDocumentBuf) -> Result<(EntityKey, Image)> {
        image_of::<T>(document).map_err(|error| error.with_context("collection", self.collection.namespace()))
    }

    /// The entities of some ids, by key.
    async fn find_ids(&self, keys: &[EntityKey]) -> Result<HashMap<EntityKey, Image>> {
        let ids = keys.iter().map(id_of::<T>).collect::<Result<Vec<Bson>>>()?;
        let query = async {
            let cursor = self.collection.find(doc! { "_id": { "$in": ids } }).max_time(self.timeout).await?;
            cursor.try_collect::<Vec<_>>().await
        };
        let documents = bounded(self.timeout, ErrorKind::Timeout, &self.doing("loading from"), query).await?;
        documents.iter().map(|document| self.read(document)).collect()
    }

    async fn query(&self, filter: Document, collation: Option<Collation>, what: &str) -> Result<Vec<Image>> {
        let doing = self.doing(what);
        // The bound is for each round trip: the size of the collection, and with it the whole time, is the
        // application's choice.
        let mut options = FindOptions::default();
        (options.batch_size, options.collation) = (Some(DOCUMENTS_A_BATCH), collation);
        let query = async { self.collection.find(filter).with_options(options).await };
        let mut cursor = bounded(self.timeout, ErrorKind::Timeout, &doing, query).await?;
        let mut images = Vec::new();
        while let Some(document) = bounded(self.timeout, ErrorKind::Timeout, &doing, cursor.try_next()).await? {
            images.push(self.read(&document)?.1);
        }
        Ok(images)
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} the collection `{}`", self.collection.namespace())
    }
}

#[async_trait]
impl<T: EntityType + DeserializeOwned> DataSource for MongoSource<T> {
    fn id(&self) -> &SourceId {
        &self.id
    }

    fn kind(&self) -> EntityKind {
        EntityKind::of::<T>()
    }

    async fn load(&self, keys: &[EntityKey]) -> Result<Vec<Option<Image>>> {
        let mut answers = Vec::with_capacity(keys.len());
        for keys in keys.chunks(IDS_A_QUERY) {
            // By key: the server answers in its own order, and a collation may find a document with another id than the
            // one that was asked for.
            let found = self.find_ids(keys).await?;
            answers.extend(keys.iter().map(|key| found.get(key).cloned()));
        }
        Ok(answers)
    }

    async fn list(&self) -> Result<Vec<Image>> {
        self.query(doc! {}, None, "listing").await
    }

    async fn find(&self, filter: &Filter) -> Result<Vec<Image>> {
        let equal = |condition: &Condition| {
            let value = value_of(condition, self.id.as_str())?;
            // With the operator: the server could take a document for operators.
            Ok(doc! { condition.field(): { "$eq": value } })
        };
        let all = filter.conditions().iter().map(equal).collect::<Result<Vec<_>>>()?;
        // A collation of the collection takes texts for equal that are different in a change, and the server looks for
        // a value inside arrays too. The simple collation finds exactly the documents whose changes affect the
        // condition.
        let simple = Collation::builder().locale("simple").build();
        let mut found = self.query(doc! { "$and": all }, Some(simple), "finding in").await?;
        let mut error = None;
        found.retain(|image| {
            filter.matches(image).unwrap_or_else(|trouble| {
                error = Some(trouble);
                false
            })
        });
        error.map_or(Ok(found), Err)
    }

    async fn examine(&self) -> Result<Examination> {
        let database = self.collection.client().database(&self.collection.namespace().db);
        examine(&database, self.collection.name(), self.pre_images, self.timeout).await
    }

    fn capabilities(&self) -> &[Capability] {
        const ALL: [Capability; 3] = [Capability::List, Capability::Find, Capability::BeforeImages];
        if self.pre_images { &ALL } else { &ALL[..2] }
    }

    fn feed(&self) -> Option<(Arc<dyn ChangeFeed>, Topic)> {
        let topic = Topic::new(self.id.clone(), self.collection.name()).with_reader(Arc::clone(&self.reader) as _);
        Some((Arc::clone(&self.feed) as _, topic))
    }
}

impl<T> fmt::Debug for MongoSource<T> {
    // By hand, because the `Debug` of a collection shows the options of its client.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoSource")
            .field("id", &self.id)
            .field("collection", &self.collection.namespace().to_string())
            .field("feed", &self.feed)
            .finish_non_exhaustive()
    }
}

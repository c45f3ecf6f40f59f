//! The statistics of a school on memory: which functions ran after each change, by what the changes tell.

use std::sync::Arc;

use async_trait::async_trait;
use smache::{
    EntityType, Result, Smache,
    backend::{
        Batch, Capability, ChangeFeed, ChangeStream, DataSource, EntityKey, EntityKind, FeedId, Filter, Image,
        Position, Snapshot, SourceId, Start, Topic,
    },
    memory::{Memory, MemorySource},
};

use crate::{
    school::{self, Log, course_score, participant_score},
    tables::Tables,
    tale::{self, Told},
};

/// A source that behaves like MongoDB without pre-images: an update and a deletion tell the id, and an update its fields.
#[derive(Debug)]
pub(crate) struct Imageless(Arc<dyn DataSource>);

impl Imageless {
    pub(crate) fn new<T: EntityType + Clone>(source: &MemorySource<T>) -> Self {
        Self(Arc::new(source.clone()))
    }
}

#[async_trait]
impl DataSource for Imageless {
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

    fn capabilities(&self) -> &[Capability] {
        &[Capability::List, Capability::Find]
    }

    fn feed(&self) -> Option<(Arc<dyn ChangeFeed>, Topic)> {
        self.0.feed().map(|(feed, topic)| (Arc::new(ImagelessFeed(feed)) as _, topic))
    }
}

#[derive(Debug)]
struct ImagelessFeed(Arc<dyn ChangeFeed>);

#[async_trait]
impl ChangeFeed for ImagelessFeed {
    fn id(&self) -> &FeedId {
        self.0.id()
    }

    async fn open(&self, topics: &[Topic], start: Start) -> Result<Box<dyn ChangeStream>> {
        Ok(Box::new(ImagelessStream(self.0.open(topics, start).await?)))
    }

    async fn head(&self) -> Result<Option<Position>> {
        self.0.head().await
    }
}

#[derive(Debug)]
struct ImagelessStream(Box<dyn ChangeStream>);

#[async_trait]
impl ChangeStream for ImagelessStream {
    fn position(&self) -> Position {
        self.0.position()
    }

    async fn next(&mut self) -> Result<Batch> {
        let mut batch = self.0.next().await?;
        for change in &mut batch.changes {
            if !matches!(change.before, Snapshot::Absent) {
                change.before = Snapshot::Unknown;
                change.after =
                    if matches!(change.after, Snapshot::Absent) { Snapshot::Absent } else { Snapshot::Unknown };
            }
        }
        Ok(batch)
    }
}

async fn system(tables: &Tables, told: Told) -> Result<(Smache, Log)> {
    let log = Log::default();
    let builder = Smache::builder("school").backend(Memory::new()).feed_validity(tale::FEED_LEASE);
    let builder = builder.state(log.clone()).state(tables.roster()).strict();
    let builder = match told {
        Told::Both => {
            builder.source(tables.courses.clone()).source(tables.participants.clone()).source(tables.grades.clone())
        }
        Told::Id => builder
            .source(Imageless::new(&tables.courses))
            .source(Imageless::new(&tables.participants))
            .source(Imageless::new(&tables.grades)),
    };
    Ok((school::register(builder).build().await?, log))
}

async fn story_of(told: Told) -> Result<()> {
    let tables = Tables::default();
    tale::fill(&tables).await?;
    let (smache, log) = system(&tables, told).await?;
    tale::tell(&smache, &tables, &log, told).await
}

#[tokio::test]
async fn what_runs_after_each_change_where_changes_tell_before_and_after() -> Result<()> {
    story_of(Told::Both).await
}

#[tokio::test]
async fn what_runs_after_each_change_where_changes_tell_the_id_alone() -> Result<()> {
    story_of(Told::Id).await
}

#[tokio::test]
async fn a_diamond_of_many_participants_computes_each_of_them_once() -> Result<()> {
    let tables = Tables::default();
    tale::fill(&tables).await?;
    let (smache, log) = system(&tables, Told::Both).await?;
    let all = (0..20).map(|_| smache.get(course_score(1)));
    for score in futures_util::future::join_all(all).await {
        assert_eq!(*score?, 50);
    }
    assert_eq!(log.take(), "course_score(1) participant_score(1) participant_score(2)");
    assert_eq!(*smache.get(participant_score(1)).await?, 60);
    assert_eq!(log.take(), "");
    Ok(())
}

//! The statistics of a school on memory: the functions that ran after each change, by the contents of the changes.

use std::sync::Arc;

use async_trait::async_trait;
use smache::{
    EntityType, Result, Smache,
    backend::{Batch, Capability, ChangeStream, DataSource, Snapshot},
    memory::{Memory, MemorySource},
};
use smache_testkit::layer::{Layered, SourceLayer};

use crate::{
    school::{self, Log, course_score, participant_score},
    tables::Tables,
    tale::{self, Told},
};

/// A source that behaves like MongoDB without pre-images: an update and a deletion have the id, and an update its
/// fields.
#[derive(Debug)]
pub(crate) struct Imageless(Arc<dyn DataSource>);

impl Imageless {
    pub(crate) fn new<T: EntityType + Clone>(source: &MemorySource<T>) -> Layered<Self> {
        Layered::new(Self(Arc::new(source.clone())))
    }
}

#[async_trait]
impl SourceLayer for Imageless {
    fn inner(&self) -> &dyn DataSource {
        &*self.0
    }

    fn capabilities(&self) -> &[Capability] {
        &[Capability::List, Capability::Find]
    }

    async fn next(&self, stream: &mut dyn ChangeStream) -> Result<Batch> {
        let mut batch = stream.next().await?;
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

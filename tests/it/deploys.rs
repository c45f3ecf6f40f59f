//! Programs of two versions side by side: a leader confirms only the relations and indexes that it knows.

use async_trait::async_trait;
use smache::{
    Builder, Error, ErrorKind, Result, Smache,
    backend::{ChangeFeed, ChangeStream, DataSource, Position, Start, Topic},
    memory::{Memory, MemorySource},
};
use smache_testkit::layer::{Layered, SourceLayer};

use crate::{
    probe::until,
    school::{self, Course, Log, Participant, course_score, directory, greeting},
    tables::Tables,
    tale::{self, Data},
};

/// A program: one of the new version knows everything, one of the old version has no relations.
async fn program(memory: &Memory, tables: &Tables, new: bool, leads: bool) -> Result<(Smache, Log)> {
    let (builder, log) = declared(memory, tables, new);
    let builder = builder.source(tables.participants.clone()).feeds(leads).maintenance(leads);
    Ok((builder.build().await?, log))
}

/// A program without its participants.
fn declared(memory: &Memory, tables: &Tables, new: bool) -> (Builder, Log) {
    let log = Log::default();
    let builder = Smache::builder("school")
        .backend(memory.clone())
        .source(tables.courses.clone())
        .source(tables.grades.clone())
        .state(log.clone())
        .state(tables.roster());
    let builder = if new { school::register(builder) } else { builder.register::<directory>().register::<greeting>() };
    (builder, log)
}

#[tokio::test]
async fn an_older_leader_does_not_confirm_a_relation_that_it_does_not_know() -> Result<()> {
    let memory = Memory::new();
    let tables = Tables::default();
    tale::fill(&tables).await?;
    let (old, _) = program(&memory, &tables, false, true).await?;
    let (new, _) = program(&memory, &tables, true, false).await?;
    assert!(new.get(directory()).await?.is_fresh(), "both know it");
    assert!(!new.get(course_score(1)).await?.is_fresh(), "a value without a confirmation");
    tables.set_points(1, 0).await?;
    old.run_until_idle().await?;
    assert!(!new.peek(course_score(1)).await?.expect("stored").is_fresh(), "the old leader has passed the change");
    let why = new.inspect().why(course_score(1)).await?.to_string();
    assert!(why.contains("the relation from grades to courses"), "{why}");
    old.shutdown().await;
    let (leader, _) = program(&memory, &tables, true, true).await?;
    // Its first run was overtaken: the next one waits for the cost of two.
    until("the new leader confirms it", async || {
        leader.run_until_idle().await?;
        new.is_fresh(course_score(1)).await
    })
    .await?;
    assert_eq!(*new.get(course_score(1)).await?, 20);
    Ok(())
}

#[tokio::test]
async fn a_relation_that_was_unknown_for_long_does_not_take_its_source_along() -> Result<()> {
    // A history that is shorter than what happens meanwhile.
    let tables = Tables { participants: MemorySource::<Participant>::with_history(5), ..Tables::default() };
    let memory = Memory::new();
    tale::fill(&tables).await?;
    let (first, log) = program(&memory, &tables, true, true).await?;
    first.get(course_score(1)).await?;
    first.get(greeting(1)).await?;
    first.shutdown().await;
    log.take();
    let (old, log) = program(&memory, &tables, false, true).await?;
    for login in 0..20 {
        tables.set_login(2, login).await?;
        // One by one, so that the old leader keeps up with the history.
        old.run_until_idle().await?;
    }
    old.shutdown().await;
    assert_eq!(log.take(), "", "nothing that it knows has changed");
    let (new, log) = program(&memory, &tables, true, true).await?;
    new.run_until_idle().await?;
    assert_eq!(log.take(), "course_score(1)", "what the relation may have missed, and not the greeting");
    assert!(new.is_fresh(greeting(1)).await? && new.is_fresh(course_score(1)).await?);
    Ok(())
}

#[tokio::test]
async fn a_source_that_is_dropped_takes_its_relations_along() -> Result<()> {
    let memory = Memory::new();
    let tables = Tables::default();
    tale::fill(&tables).await?;
    let (first, _) = program(&memory, &tables, true, true).await?;
    first.get(course_score(1)).await?;
    first.shutdown().await;
    // Another table of grades, whose history has nothing to do with the positions of the first one.
    let other = Tables { grades: MemorySource::new(), ..tables.clone() };
    other.courses.insert(Course { id: 1, title: "again".into() })?;
    let (second, log) = program(&memory, &other, true, true).await?;
    second.run_until_idle().await?;
    assert!(log.take().contains("course_score(1)"));
    assert_eq!(*second.get(course_score(1)).await?, 0, "there are no grades in it");
    Ok(())
}

#[tokio::test]
async fn a_position_of_another_history_is_no_later_one_of_this() -> Result<()> {
    let memory = Memory::new();
    let tables = Tables::default();
    let others = Tables::default();
    tale::fill(&tables).await?;
    tale::fill(&others).await?;
    let (first, _) = program(&memory, &tables, true, true).await?;
    first.get(course_score(1)).await?;
    first.shutdown().await;
    // An older program, which does not know the relations and so leaves their positions, on other data with a longer
    // history.
    others.set_name(1, "Other").await?;
    for login in 0..20 {
        others.set_login(2, login).await?;
    }
    let (old, _) = program(&memory, &others, false, true).await?;
    assert_eq!(*old.get(greeting(1)).await?, "Hello, Other");
    old.shutdown().await;
    // Back on the first data: the relations go on where they were, and their source does not.
    let (again, log) = program(&memory, &tables, true, true).await?;
    again.run_until_idle().await?;
    assert!(log.take().contains("greeting(1)"), "it was computed from other data");
    let greeting = again.get(greeting(1)).await?;
    assert!(greeting.is_fresh());
    assert_ne!(*greeting, "Hello, Other");
    Ok(())
}

/// Participants whose data was put back to an earlier copy: the history ends where it was copied.
#[derive(Debug)]
struct PutBack(MemorySource<Participant>, Position);

#[async_trait]
impl SourceLayer for PutBack {
    fn inner(&self) -> &dyn DataSource {
        &self.0
    }

    async fn open(&self, feed: &dyn ChangeFeed, topics: &[Topic], start: Start) -> Result<Box<dyn ChangeStream>> {
        match start {
            Start::After(position) if position > self.1 => {
                Err(Error::new(ErrorKind::HistoryLost, "the history ends before the position"))
            }
            start => feed.open(topics, start).await,
        }
    }
}

#[tokio::test]
async fn a_position_behind_the_end_of_the_history_is_noticed_beside_one_that_is_in_it() -> Result<()> {
    let memory = Memory::new();
    let tables = Tables::default();
    tale::fill(&tables).await?;
    let (first, _) = program(&memory, &tables, true, true).await?;
    first.get(greeting(1)).await?;
    first.get(greeting(2)).await?;
    let (feed, _) = tables.participants.feed().expect("a feed");
    let copied = feed.head().await?.expect("a position");
    first.shutdown().await;
    let (old, log) = program(&memory, &tables, false, true).await?;
    tables.set_login(2, 7).await?;
    old.run_until_idle().await?;
    assert!(old.is_fresh(greeting(1)).await?);
    old.shutdown().await;
    assert_eq!(log.take(), "", "no greeting tells the login");
    let (builder, log) = declared(&memory, &tables, true);
    let again = builder.source(Layered::new(PutBack(tables.participants.clone(), copied))).build().await?;
    again.run_until_idle().await?;
    assert_eq!(log.take(), "greeting(1) greeting(2)", "what was read after the copy is gone");
    Ok(())
}

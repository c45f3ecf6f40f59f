//! Programs of two versions side by side: what a leader does not know, it does not vouch for.

use smache::{
    Result, Smache,
    memory::{Memory, MemorySource},
};

use crate::{
    school::{self, Course, Log, Participant, course_score, directory, greeting},
    tables::Tables,
    tale::{self, Data},
};

/// A program: one of the new version knows everything, one of the old version has no relations.
async fn program(memory: &Memory, tables: &Tables, new: bool, leads: bool) -> Result<(Smache, Log)> {
    let log = Log::default();
    let builder = Smache::builder("school")
        .backend(memory.clone())
        .source(tables.courses.clone())
        .source(tables.participants.clone())
        .source(tables.grades.clone())
        .state(log.clone())
        .state(tables.roster())
        .feeds(leads)
        .upkeep(leads);
    let builder = if new { school::register(builder) } else { builder.register::<directory>().register::<greeting>() };
    Ok((builder.build().await?, log))
}

#[tokio::test]
async fn an_older_leader_does_not_vouch_for_a_relation_that_it_does_not_know() -> Result<()> {
    let (memory, tables) = (Memory::new(), Tables::default());
    tale::fill(&tables).await?;
    let (old, _) = program(&memory, &tables, false, true).await?;
    let (new, _) = program(&memory, &tables, true, false).await?;
    assert!(new.get(directory()).await?.is_fresh(), "both know it");
    assert!(!new.get(course_score(1)).await?.is_fresh(), "a value, and nobody vouches for it");
    tables.set_points(1, 0).await?;
    old.run_until_idle().await?;
    assert!(!new.peek(course_score(1)).await?.expect("stored").is_fresh(), "the old leader has passed the change");
    let why = new.why(course_score(1)).await?.to_string();
    assert!(why.contains("the relation from grades to courses"), "{why}");
    old.shutdown().await;
    let (leader, _) = program(&memory, &tables, true, true).await?;
    leader.run_until_idle().await?;
    let score = new.peek(course_score(1)).await?.expect("stored");
    assert!(score.is_fresh());
    assert_eq!(*score, 20);
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
    let (memory, tables) = (Memory::new(), Tables::default());
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

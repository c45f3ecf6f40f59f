//! The examination of a system.

use async_trait::async_trait;
use smache::{
    Error, ErrorKind, Result, Smache,
    backend::DataSource,
    inspect::{Examination, Guarantee, Severity},
    memory::{Memory, MemorySource},
};
use smache_testkit::layer::{Layered, SourceLayer};

use crate::{
    school::{self, Course, Grade, Log, Participant},
    statistics::Imageless,
    tables::Tables,
    tale,
};

#[tokio::test]
async fn every_part_says_what_it_guarantees_and_what_it_lacks() -> Result<()> {
    let tables = Tables { participants: MemorySource::without_feed(), ..Tables::default() };
    tale::fill(&tables).await?;
    let builder = Smache::builder("school")
        .store(Memory::new())
        .queue(Memory::new())
        .source(tables.courses.clone())
        .source(tables.participants.clone())
        .source(Imageless::new(&tables.grades))
        .state(Log::default())
        .state(tables.roster());
    let smache = school::register(builder).build().await?;
    let diagnosis = smache.inspect().doctor().await;
    let roles: Vec<_> = diagnosis.parts.iter().map(|part| (part.role.as_str(), part.examination.guarantee)).collect();
    assert_eq!(
        roles,
        [
            ("store", None),
            ("queue", None),
            ("source courses", Some(Guarantee::ChangeFeed)),
            ("source grades", Some(Guarantee::ChangeFeed)),
            ("source participants", Some(Guarantee::BestEffort)),
        ]
    );
    let text = diagnosis.to_string();
    for line in [
        "store: memory of this process\n  advice: the data end with the process",
        "  advice: the store does not write its jobs",
        "source courses: a table of 2 entities in this process, with a feed (change feed; lists, finds, tells what was before)\n",
        "(change feed; lists, finds)\n  advice: changes do not tell what entities were before",
        "source participants: a table of 3 entities in this process, without a feed (best effort; lists, finds)\n  advice: `changed` does not",
    ] {
        assert!(text.contains(line), "{line}\nis not in\n{text}");
    }
    assert_eq!(diagnosis.worst(), Some(Severity::Advice));
    Ok(())
}

#[tokio::test]
async fn a_source_without_a_confirmation_is_found() -> Result<()> {
    let tables = Tables::default();
    tale::fill(&tables).await?;
    let builder = Smache::builder("school")
        .backend(Memory::new())
        .source(tables.courses.clone())
        .source(tables.participants.clone())
        .source(tables.grades.clone())
        .state(Log::default())
        .state(tables.roster())
        .feeds(false);
    let smache = school::register(builder).build().await?;
    let diagnosis = smache.inspect().doctor().await;
    let found: Vec<String> = diagnosis
        .findings()
        .into_iter()
        .filter(|(_, finding)| finding.severity == Severity::Warning)
        .map(|(role, finding)| format!("{role}: {}", finding.problem))
        .collect();
    let of = |what: &str| found.iter().any(|problem| problem.contains(what));
    assert!(of("confirms courses") && of("the relation from grades to courses"), "{found:?}");
    assert!(of("the index participant_id of grades"), "{found:?}");
    Ok(())
}

/// A source whose server is gone when it is examined.
#[derive(Debug)]
struct Gone(MemorySource<Course>);

#[async_trait]
impl SourceLayer for Gone {
    fn inner(&self) -> &dyn DataSource {
        &self.0
    }

    async fn examine(&self) -> Result<Examination> {
        Err(Error::new(ErrorKind::Unavailable, "the server does not answer"))
    }

    fn has_feed(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_part_that_cannot_be_examined_is_the_worst_finding() -> Result<()> {
    let tables = Tables::default();
    let builder = Smache::builder("school")
        .backend(Memory::new())
        .source(Layered::new(Gone(tables.courses.clone())))
        .source(MemorySource::<Participant>::without_feed())
        .source(MemorySource::<Grade>::without_feed())
        .state(Log::default())
        .state(tables.roster());
    let diagnosis = school::register(builder).build().await?.inspect().doctor().await;
    let findings = diagnosis.findings();
    let (role, worst) = findings[0];
    assert_eq!((role, worst.severity, diagnosis.worst()), ("source courses", Severity::Danger, Some(Severity::Danger)));
    assert!(worst.problem.contains("the server does not answer"), "{worst:?}");
    Ok(())
}

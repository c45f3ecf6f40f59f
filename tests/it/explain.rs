//! The reasons for the state of an entry, the entries that a change would make stale, and the drawings of both.

use std::{sync::Arc, time::Duration};

use smache::{
    ChangeKind, DependencyKind, Result, Smache,
    backend::{JobState, ManualClock},
    inspect::{EdgeKind, NodeKind, NodeState, WhyState},
    memory::Memory,
    tag,
};

use crate::{
    school::{self, Course, Grade, Log, Participant, course_score, greeting, participant_score, passed},
    tables::Tables,
    tale,
};

struct School {
    smache: Smache,
    tables: Tables,
    clock: ManualClock,
}

/// The feeds of the tables hand their changes over by themselves; a manual clock keeps the ages exact.
async fn school() -> Result<School> {
    let tables = Tables::default();
    let clock = ManualClock::default();
    tale::fill(&tables).await?;
    let builder = Smache::builder("school")
        .backend(Memory::builder().clock(Arc::new(clock.clone())).build())
        .source(tables.courses.clone())
        .source(tables.participants.clone())
        .source(tables.grades.clone())
        .state(Log::default())
        .state(tables.roster());
    let smache = school::register(builder).register::<failing>().build().await?;
    Ok(School { smache, tables, clock })
}

#[smache::computed]
async fn failing(cx: &smache::Cx, wrong: bool) -> Result<u64, smache::Failure> {
    cx.depends_on(tag("failing"))?;
    if cx.load::<Course>(&99).await?.is_some() || wrong { Err("it fails".into()) } else { Ok(1) }
}

impl School {
    /// Until a change that was just made is in the store.
    async fn stale(&self, course: i64) -> Result<()> {
        while self.smache.is_fresh(passed(course)).await? {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

#[tokio::test]
async fn what_is_not_stored_is_said_to_be_absent() -> Result<()> {
    let School { smache, .. } = school().await?;
    let why = smache.inspect().why(passed(1)).await?;
    assert_eq!((why.state.clone(), why.stored.is_none(), why.job.is_none()), (WhyState::Absent, true, true));
    assert_eq!(why.to_string(), "passed@1(1) is not stored: the next reader computes it");
    Ok(())
}

#[tokio::test]
async fn a_fresh_entry_says_what_it_is_made_of() -> Result<()> {
    let School { smache, clock, .. } = school().await?;
    smache.get(passed(1)).await?;
    clock.advance(Duration::from_millis(500));
    let why = smache.inspect().why(course_score(1)).await?;
    assert!(matches!(why.state, WhyState::Fresh { .. }), "{why}");
    assert_eq!(why.calls, ["participant_score@1(1)", "participant_score@1(2)"]);
    let on = |source: &str, kind| {
        let of = |on: &&smache::inspect::WhyDependsOn| {
            on.source.as_ref().is_some_and(|id| id.as_str() == source) && on.kind == kind
        };
        why.depends_on.iter().find(of).map(|on| (on.direct, on.through_calls))
    };
    assert_eq!(on("courses", DependencyKind::Entity), Some((1, 0)));
    assert_eq!(on("grades", DependencyKind::Relation), Some((1, 0)));
    assert_eq!(on("participants", DependencyKind::Field), Some((0, 2)));
    assert_eq!(on("grades", DependencyKind::Predicate), Some((0, 2)));
    let stored = why.stored.as_ref().expect("it is stored");
    assert!(stored.took.is_some() && stored.bytes > 0 && !stored.lazy);
    let text = why.to_string();
    assert!(text.starts_with("course_score@1(1) is fresh\n  stored: 500.0ms ago, "), "{text}");
    assert!(text.contains("made of: participant_score@1(1), participant_score@1(2)"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_stale_entry_says_which_change_made_it_so_by_which_path_and_has_a_job() -> Result<()> {
    let school = school().await?;
    let School { smache, tables, clock } = &school;
    smache.get(passed(1)).await?;
    tables.grades.update(&1, |grade| grade.points = 0)?;
    school.stale(1).await?;
    clock.advance(Duration::from_secs(1));
    let why = smache.inspect().why(passed(1)).await?;
    let WhyState::Stale { since, must_run, lost } = &why.state else { panic!("{why}") };
    assert_eq!((why.now.since(*since), *must_run, lost.len()), (Duration::from_secs(1), false, 0));
    let [cause] = &why.causes[..] else { panic!("{why}") };
    assert_eq!(cause.source.as_deref(), Some("grades"));
    assert_eq!((cause.entity.as_deref(), cause.kind), (Some("1"), Some(ChangeKind::Update)));
    assert!(cause.at.is_some());
    assert_eq!(cause.path.last().map(String::as_str), Some("passed@1(1)"));
    assert_eq!(cause.path, ["course_score@1(1)", "passed@1(1)"], "by the relation");
    assert_eq!(why.job.as_ref().map(|job| job.state), Some(JobState::Queued));
    let text = why.to_string();
    assert!(
        text.starts_with(
            "passed@1(1) is stale for 1.0s, only through nested calls\n  changed by: grades 1 updated, through "
        ),
        "{text}"
    );
    assert!(text.contains("its job is queued"), "{text}");

    let hard = smache.inspect().why(participant_score(1)).await?;
    assert!(matches!(hard.state, WhyState::Stale { must_run: true, .. }), "{hard}");
    assert_eq!(hard.causes[0].path, ["participant_score@1(1)"], "it read the grade itself");
    smache.run_until_idle().await?;
    let fresh = smache.inspect().why(passed(1)).await?;
    assert!(matches!(fresh.state, WhyState::Fresh { .. }) && fresh.causes.is_empty() && fresh.job.is_none(), "{fresh}");
    Ok(())
}

#[tokio::test]
async fn reports_of_the_application_are_causes_too() -> Result<()> {
    let School { smache, .. } = school().await?;
    smache.get(participant_score(1)).await?;
    smache.changed_tag("grading rules").await?;
    smache.invalidate(participant_score(1)).await?;
    let why = smache.inspect().why(participant_score(1)).await?;
    let texts: Vec<&str> = why.causes.iter().map(|cause| cause.text.as_str()).collect();
    assert_eq!(texts, ["the tag \"grading rules\" was touched", "the call was invalidated"]);
    assert!(why.causes.iter().all(|cause| cause.source.is_none() && cause.kind.is_none()));
    assert_eq!(why.causes[0].dependency, Some(DependencyKind::Tag));
    smache.invalidate_all().await?;
    let why = smache.inspect().why(participant_score(1)).await?;
    let WhyState::Stale { lost, .. } = &why.state else { panic!("{why}") };
    assert_eq!(lost, &["everything"]);
    Ok(())
}

#[tokio::test]
async fn a_failing_entry_says_how_it_failed() -> Result<()> {
    let School { smache, tables, clock } = school().await?;
    smache.get(failing(false)).await?;
    tables.courses.insert(Course { id: 99, title: String::new() })?;
    smache.run_until_idle().await?;
    clock.advance(Duration::from_millis(100));
    let why = smache.inspect().why(failing(false)).await?;
    let failure = why.failure.as_ref().expect("the failure is recorded");
    assert!(failure.message.contains("it fails"), "{failure:?}");
    assert_eq!(why.failures, 1);
    let text = why.to_string();
    assert!(
        text.contains("failed 1 times") && text.contains("it fails") && text.contains("its job is queued"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn the_impact_of_a_change_is_counted_and_nothing_is_done() -> Result<()> {
    let School { smache, .. } = school().await?;
    for course in 1..=2 {
        smache.get(passed(course)).await?;
    }
    for participant in 1..=3 {
        smache.get(greeting(participant)).await?;
    }
    let before = smache.inspect().stats().await?.store;
    let impact = smache.inspect().impact::<Grade>(&1).await?;
    assert_eq!((impact.entries, impact.direct, impact.complete), (3, 2, true), "{impact}");
    assert_eq!(impact.calls, ["course_score@1(1)", "participant_score@1(1)", "passed@1(1)"]);
    let on: Vec<_> = impact.functions.iter().map(|on| (on.function.as_str(), on.direct, on.through_calls)).collect();
    assert_eq!(on, [("course_score", 1, 0), ("participant_score", 1, 0), ("passed", 0, 1)]);
    assert!(impact.to_string().starts_with("grades 1 updated would make 3 entries stale, 2 of which must run again"));
    let participant = smache.inspect().impact::<Participant>(&3).await?;
    assert_eq!(participant.calls, ["course_score@1(2)", "greeting@1(3)", "participant_score@1(3)", "passed@1(2)"]);
    let unread = smache.inspect().impact::<Grade>(&77).await?;
    assert_eq!((unread.entries, unread.calls.len()), (0, 0));
    assert_eq!(smache.inspect().stats().await?.store, before, "nothing went stale");
    assert_eq!(smache.inspect().stats().await?.process.changes, 0);
    Ok(())
}

#[tokio::test]
async fn the_declarations_are_drawn_before_anything_has_run() -> Result<()> {
    let School { smache, .. } = school().await?;
    let graph = smache.inspect().graph();
    let edge = |from: &str, to: &str| {
        let is = |at: usize, label: &str| graph.nodes()[at].label == label;
        let edge = graph.edges().iter().find(|edge| is(edge.from, from) && is(edge.to, to));
        edge.map(|edge| (edge.kind, edge.label.clone()))
    };
    assert_eq!(edge("courses", "course_score"), Some((EdgeKind::Entity, None)));
    assert_eq!(edge("grades", "course_score"), Some((EdgeKind::Relation, Some("grades → courses".into()))));
    assert_eq!(edge("participant_score", "course_score"), Some((EdgeKind::Call, None)));
    assert_eq!(edge("participants", "greeting"), Some((EdgeKind::Entity, Some("name".into()))));
    assert_eq!(edge("grades", "participant_score"), Some((EdgeKind::Reads, None)));
    assert_eq!(edge("courses", "directory"), Some((EdgeKind::Whole, None)));
    assert_eq!(edge("courses", "failing"), None, "it declares nothing");
    smache.get(failing(false)).await?;
    let seen = smache.inspect().graph();
    let observed = seen.edges().iter().find(|edge| edge.kind == EdgeKind::Observed).expect("what was seen is marked");
    assert_eq!((&*seen.nodes()[observed.from].label, &*seen.nodes()[observed.to].label), ("courses", "failing"));
    for text in [seen.to_dot(), seen.to_mermaid(), seen.to_svg()] {
        assert!(text.contains("participant_score") && text.contains("grades → courses"), "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn the_graph_around_an_entry_shows_what_it_is_made_of_and_what_is_made_of_it() -> Result<()> {
    let school = school().await?;
    let School { smache, tables, .. } = &school;
    let absent = smache.inspect().graph_of(course_score(1)).await?;
    assert_eq!((absent.nodes().len(), absent.nodes()[0].state), (1, Some(NodeState::Absent)));
    smache.get(passed(1)).await?;
    tables.grades.update(&1, |grade| grade.points = 0)?;
    school.stale(1).await?;
    let graph = smache.inspect().graph_of(course_score(1)).await?;
    let entries: Vec<_> = graph.nodes().iter().filter(|node| node.kind == NodeKind::Entry).collect();
    let states: Vec<_> = entries.iter().map(|node| (node.label.as_str(), node.state)).collect();
    assert_eq!(
        states,
        [
            ("course_score@1(1)", Some(NodeState::Stale)),
            ("participant_score@1(1)", Some(NodeState::Stale)),
            ("participant_score@1(2)", Some(NodeState::Fresh)),
            ("passed@1(1)", Some(NodeState::Stale)),
        ]
    );
    let calls: Vec<_> = graph.edges().iter().filter(|edge| edge.kind == EdgeKind::Call).collect();
    let label = |at: usize| graph.nodes()[at].label.as_str();
    let calls: Vec<_> = calls.iter().map(|edge| (label(edge.from), label(edge.to))).collect();
    assert_eq!(
        calls,
        [
            ("participant_score@1(1)", "course_score@1(1)"),
            ("participant_score@1(2)", "course_score@1(1)"),
            ("course_score@1(1)", "passed@1(1)"),
        ]
    );
    assert!(graph.nodes().iter().any(|node| node.label == "1 relation of grades"));
    assert!(graph.nodes().iter().any(|node| node.kind == NodeKind::Tag && node.label == "1 tag"));
    assert!(graph.to_svg().contains("stale"));
    Ok(())
}

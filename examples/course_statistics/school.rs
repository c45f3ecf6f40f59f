//! A school and its statistics. The tests run the same functions on every backend.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use smache::{Builder, Cx, Entity, Result, State, computed, tag};

#[derive(Clone, Debug, Serialize, Deserialize, Entity)]
#[entity(source = "courses")]
pub(crate) struct Course {
    #[serde(rename = "_id")]
    #[entity(id)]
    pub(crate) id: i64,
    pub(crate) title: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, Entity)]
#[entity(source = "participants")]
pub(crate) struct Participant {
    #[serde(rename = "_id")]
    #[entity(id)]
    pub(crate) id: i64,
    #[entity(index)]
    pub(crate) course_id: i64,
    #[entity(field)]
    pub(crate) name: String,
    #[entity(field)]
    pub(crate) last_login: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize, Entity)]
#[entity(source = "grades")]
pub(crate) struct Grade {
    #[serde(rename = "_id")]
    #[entity(id)]
    pub(crate) id: i64,
    #[entity(index)]
    pub(crate) participant_id: i64,
    pub(crate) course_id: i64,
    pub(crate) points: i64,
}

/// The mean of a participant's grades, found by a predicate: one that is added later counts as well.
#[computed(reads(Grade))]
pub(crate) async fn participant_score(
    cx: &Cx,
    log: State<Log>,
    #[entity(fields(course_id))] participant: Entity<Participant>,
) -> Result<i64> {
    log.ran("participant_score", participant.id);
    cx.depends_on(tag("grading rules"))?;
    let grades = cx.find(Grade::PARTICIPANT_ID.eq(participant.id)).await?;
    Ok(mean(grades.iter().map(|grade| grade.points)))
}

/// The mean of a course, made of its participants' scores. It finds the participants by a hand-written query, so
/// relations say which changes concern it: of a participant or a grade, to the course before and after the change.
#[computed(
    relation(Participant, |participant| participant.course_id),
    relation(Grade, |grade| grade.course_id),
    calls(participant_score)
)]
pub(crate) async fn course_score(
    cx: &Cx,
    log: State<Log>,
    roster: State<Roster>,
    course: Entity<Course>,
) -> Result<i64> {
    log.ran("course_score", course.id);
    cx.reads::<Participant>()?;
    let mut scores = Vec::new();
    for participant in roster.of(course.id).await? {
        scores.push(*cx.get(participant_score(participant)).await?);
    }
    Ok(mean(scores.into_iter()))
}

/// Whether a course is passed. It runs again only when the score of the course has changed.
#[computed(calls(course_score))]
pub(crate) async fn passed(cx: &Cx, log: State<Log>, course: i64) -> Result<bool> {
    log.ran("passed", course);
    Ok(*cx.get(course_score(course)).await? >= 50)
}

/// A list of all courses.
#[computed(sources(Course))]
pub(crate) async fn directory(cx: &Cx, log: State<Log>) -> Result<Vec<String>> {
    log.ran("directory", "");
    let mut titles: Vec<String> = cx.all::<Course>().await?.iter().map(|course| course.title.clone()).collect();
    titles.sort();
    Ok(titles)
}

/// Reads one field: a log-in does not make it run again.
#[computed]
pub(crate) async fn greeting(log: State<Log>, #[entity(fields(name))] participant: Entity<Participant>) -> String {
    log.ran("greeting", participant.id);
    format!("Hello, {}", participant.name)
}

fn mean(points: impl Iterator<Item = i64>) -> i64 {
    let (sum, count) = points.fold((0, 0), |(sum, count), points| (sum + points, count + 1));
    if count == 0 { 0 } else { sum / count }
}

/// Registers all functions.
pub(crate) fn register(builder: Builder) -> Builder {
    builder
        .register::<participant_score>()
        .register::<course_score>()
        .register::<passed>()
        .register::<directory>()
        .register::<greeting>()
}

/// Which functions ran.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<BTreeMap<String, usize>>>);

impl Log {
    fn ran(&self, function: &str, argument: impl fmt::Display) {
        let mut ran = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *ran.entry(format!("{function}({argument})")).or_default() += 1;
    }

    /// The functions that ran since the last look, in alphabetical order, with the number of times if it was more than
    /// one.
    pub(crate) fn take(&self) -> String {
        let ran = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let each = ran.iter().map(|(call, times)| if *times > 1 { format!("{call}×{times}") } else { call.clone() });
        each.collect::<Vec<_>>().join(" ")
    }
}

/// The application's own query: the participants of a course.
#[derive(Clone)]
pub(crate) struct Roster(Arc<dyn Fn(i64) -> Answer + Send + Sync>);

type Answer = Pin<Box<dyn Future<Output = Result<Vec<i64>>> + Send>>;

impl Roster {
    pub(crate) fn new<A>(query: impl Fn(i64) -> A + Send + Sync + 'static) -> Self
    where
        A: Future<Output = Result<Vec<i64>>> + Send + 'static,
    {
        Self(Arc::new(move |course| Box::pin(query(course))))
    }

    async fn of(&self, course: i64) -> Result<Vec<i64>> {
        self.0(course).await
    }
}

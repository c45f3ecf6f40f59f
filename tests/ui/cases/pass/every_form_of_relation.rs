//! Relations are closures, functions or async closures, to any of the entities.

use serde::{Deserialize, Serialize};
use smache::{Computed, Cx, Declaration, Entity, Error, Failure, Relation, Role, computed};

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "courses")]
struct Course {
    #[entity(id)]
    id: u64,
}

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "participants")]
struct Participant {
    #[entity(id)]
    name: String,
    course: Option<u64>,
    courses: Vec<u64>,
}

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "grades")]
struct Grade {
    #[entity(id)]
    id: u64,
    course_id: u64,
    #[entity(index)]
    participant: String,
}

#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

impl From<std::num::ParseIntError> for Broken {
    fn from(_: std::num::ParseIntError) -> Self {
        Self
    }
}

type Result<T, E = Error> = std::result::Result<T, E>;

mod maps {
    pub(super) fn course_of(grade: &super::Grade) -> u64 {
        grade.course_id
    }

    pub(super) async fn nothing() -> Result<(), super::Broken> {
        Ok(())
    }
}

#[computed(relation(Grade, |grade| grade.course_id))]
async fn one(course: Entity<Course>) -> u64 {
    course.id
}

#[computed(
    relation(Grade, maps::course_of),
    relation(Participant, |Participant { course, .. }: &Participant| course.as_ref()),
    relation(Participant, |someone| someone.courses.clone(), to = course),
    relation(Participant, |someone| -> Option<u64> { Some(someone.course? + 1) }),
    relation(Participant, |someone| {
        if someone.name.is_empty() {
            return None;
        }
        someone.course
    }),
    relation(Grade, |_| [1_u64, 2],),
)]
async fn every_answer(limit: u8, course: Entity<Course>) -> u64 {
    course.id + u64::from(limit)
}

#[computed(
    relation(Grade, |grade| &grade.participant, to = r#type),
    relation(Grade, |grade| grade.course_id, to = second,),
    relation(Course, async move |_, course| course.id, to = first),
    relation(Grade, async |cx, grade| {
        let mates = cx.find(Grade::PARTICIPANT.eq(grade.participant.clone())).await?;
        maps::nothing().await?;
        mates.iter().map(|mate| mate.course_id).collect::<Vec<_>>()
    }, to = second),
    relation(Participant, async |cx: &Cx, someone: &Participant| -> Result<Vec<u64>> {
        let courses = cx.load_many::<Course>(&someone.courses).await?;
        if courses.is_empty() {
            return Ok(Vec::new());
        }
        Ok(courses.into_iter().flatten().map(|course| course.id).collect())
    }, to = first),
    relation(Participant, async |_, someone| -> Result<Option<u64>, Broken> {
        maps::nothing().await?;
        let number = someone.name.parse::<u64>()?;
        Ok(Some(number))
    }, to = first),
    relation(Participant, async |_, someone| -> Option<&u64> { someone.courses.first() }, to = first),
)]
async fn every_entity(
    first: Entity<Course>,
    _: u8,
    cx: &Cx,
    r#type: Entity<Participant>,
    second: Entity<Course>,
) -> Result<u64, Failure> {
    let _ = (cx, &r#type.name);
    Ok(first.id + second.id)
}

macro_rules! related {
    ($name:ident, $from:ty, $map:expr) => {
        #[computed(id = "made", relation($from, $map))]
        async fn $name(course: Entity<Course>) -> u64 {
            course.id
        }
    };
}
related!(made_by_closure, Grade, |grade| grade.course_id);
related!(made_by_path, Grade, maps::course_of);
related!(made_by_query, Grade, async |cx, grade| cx.entity::<Course>(&grade.course_id).await?.id);

fn main() {
    let by_hand = Declaration::new("one")
        .entity::<Course>()
        .relation(Relation::<Grade, Course>::new(0, "|grade| grade.course_id", |grade| vec![grade.course_id]))
        .output("u64");
    assert_eq!(one::declaration().hash(), by_hand.hash());
    assert_eq!(format!("{:?}", one::declaration()), format!("{by_hand:?}"));
    let to_another = Declaration::new("one")
        .param(Role::Raw, "u8")
        .entity::<Course>()
        .relation(Relation::<Grade, Course>::new(1, "|grade| grade.course_id", |grade| vec![grade.course_id]))
        .output("u64");
    assert_ne!(one::declaration().hash(), to_another.hash());

    let text = format!("{:?}", every_answer::declaration());
    for part in [
        "grades → courses: maps::course_of",
        "participants → courses: |Participant { course, .. }: &Participant| course.as_ref()",
        "participants → courses: |someone| -> Option<u64> { Some(someone.course? + 1) }",
        "participants → courses: |someone| { if someone.name.is_empty() { return None; } someone.course }",
        "grades → courses: |_| [1_u64, 2]",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let text = format!("{:?}", every_entity::declaration());
    assert!(text.contains("grades → participants: |grade| &grade.participant"), "{text}");
    assert!(text.contains("courses → courses: async move |_, course| course.id"), "{text}");
    let _ = (made_by_closure(1_u64), made_by_path(1_u64), made_by_query(1_u64));
}

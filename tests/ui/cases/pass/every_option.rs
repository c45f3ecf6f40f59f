//! All options at once, and what they say in the declaration.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use smache::{Computed, Declaration, Entity, Relation, computed};

mod vendored {
    pub use smache as cache;
}

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "handins", crate = "crate::vendored::cache")]
struct Handin {
    #[entity(id)]
    id: u64,
}

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "school/courses:v2")]
struct Course {
    #[entity(id)]
    id: u64,
    #[entity(field)]
    name: String,
    #[entity(index)]
    r#type: u8,
}

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "grades")]
struct Grade {
    #[entity(id)]
    id: u64,
    course_id: u64,
}

#[computed]
async fn score(grade: Entity<Grade>) -> u64 {
    grade.course_id
}

mod other {
    #[smache::computed]
    pub async fn passed() -> bool {
        true
    }
}

#[computed(
    id = "reports.grades/v1",
    version = 2,
    ttl = "10m",
    timeout = "500ms",
    refresh = "on_read",
    sources(Handin, Course),
    reads(Grade),
    calls(score, other::passed),
    relation(Grade, |grade| grade.course_id, to = course),
    relation(Handin, |handin| handin.id, to = narrowed),
    crate = "vendored::cache"
)]
async fn grades(course: Entity<Course>, limit: u32, #[entity(fields(name, type))] narrowed: Entity<Course>) -> u64 {
    course.id + u64::from(limit) + u64::from(narrowed.r#type)
}

fn main() {
    let by_hand = Declaration::new("reports.grades/v1")
        .version(2)
        .entity::<Course>()
        .param(smache::backend::Role::Raw, "u32")
        .entity_fields::<Course>(Course::NAME | Course::TYPE)
        .source::<Handin>()
        .source::<Course>()
        .reads::<Grade>()
        .calls::<score>()
        .calls::<other::passed>()
        .relation(Relation::<Grade, Course>::new(0, "|grade| grade.course_id", |grade| vec![grade.course_id]))
        .relation(Relation::<Handin, Course>::new(2, "|handin| handin.id", |handin| vec![handin.id]))
        .output("u64")
        .ttl(Duration::from_secs(600))
        .timeout(Duration::from_millis(500))
        .refresh(smache::backend::Refresh::OnRead);
    assert_eq!(format!("{:?}", grades::declaration()), format!("{by_hand:?}"));
    assert_eq!(grades::declaration().hash(), by_hand.hash());
}

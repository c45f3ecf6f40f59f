use std::rc::Rc;

use serde::{Deserialize, Serialize};
use smache::{Cx, Entity, computed};

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "courses")]
struct Course {
    #[entity(id)]
    id: u64,
}

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "grades")]
struct Grade {
    #[entity(id)]
    id: u64,
    course_id: u64,
    name: String,
}

struct NoEntity {
    id: u64,
}

struct NoError;

fn of_another(course: &Course) -> u64 {
    course.id
}

async fn fails() -> Result<u64, NoError> {
    Err(NoError)
}

async fn waits() {}

#[computed(relation(Grade, |grade| grade.name.clone()))]
async fn another_type(course: Entity<Course>) -> u64 {
    course.id
}

#[computed(relation(Grade, |grade| grade.missing))]
async fn missing_field(course: Entity<Course>) -> u64 {
    course.id
}

#[computed(relation(Grade, of_another))]
async fn another_function(course: Entity<Course>) -> u64 {
    course.id
}

#[computed(relation(NoEntity, |it| it.id), relation(NoEntity, |it| it.id + 1))]
async fn no_entity(course: Entity<Course>) -> u64 {
    course.id
}

#[computed(relation(Grade, async |_, grade| (grade.id, grade.course_id)))]
async fn another_type_later(course: Entity<Course>) -> u64 {
    course.id
}

#[computed(relation(Grade, async |_cx: &Cx, _| fails().await?))]
async fn no_error(course: Entity<Course>) -> u64 {
    course.id
}

#[computed(relation(Grade, async |_, _| -> Result<u64, NoError> { fails().await }))]
async fn no_error_in_the_type(course: Entity<Course>) -> u64 {
    course.id
}

#[computed(relation(Grade, async |_, grade| {
    let id = Rc::new(grade.id);
    waits().await;
    *id
}))]
async fn not_send(course: Entity<Course>) -> u64 {
    course.id
}

fn main() {}

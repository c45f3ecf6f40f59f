use serde::{Deserialize, Serialize};
use smache::{Call, Entity, State, computed};

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "grades")]
struct Grade {
    #[entity(id)]
    id: u64,
    course_id: u64,
}

#[computed(relation(Grade, |grade| grade.course_id))]
async fn none(course: u64, _state: State<Grade>) -> u64 {
    course
}

#[computed(relation(Grade, |grade| grade.course_id))]
async fn several(first: Entity<Grade>, r#type: Entity<Grade>, _: Entity<Grade>) -> u64 {
    first.id + r#type.id
}

#[computed(relation(Grade, |grade| grade.course_id))]
async fn nameless(_: Entity<Grade>, _: Entity<Grade>) {}

#[computed(relation(Grade, |grade| grade.course_id, to = number))]
async fn another(grade: Entity<Grade>, number: u64) -> u64 {
    grade.id + number
}

#[computed(relation(Grade, |grade| grade.course_id, to = _grade))]
async fn without_a_name(_: Entity<Grade>) {}

/// The argument is the one mistake.
#[computed(relation(Grade, |grade| grade.course_id))]
async fn mistaken(grade: &Entity<Grade>) -> u64 {
    grade.id
}

fn main() {
    let _: (Call<none>, Call<several>) = (none(1), several(1_u64, 2_u64, 3_u64));
    let _: (Call<nameless>, Call<another>) = (nameless(1_u64, 2_u64), another(1_u64, 2));
    let _: (Call<without_a_name>, Call<mistaken>) = (without_a_name(1_u64), mistaken(1_u64));
}

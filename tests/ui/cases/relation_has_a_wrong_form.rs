use serde::{Deserialize, Serialize};
use smache::{Call, Entity, computed};

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "grades")]
struct Grade {
    #[entity(id)]
    id: u64,
    course_id: u64,
}

#[computed(relation(), relation, relation = Grade, relation("grades", |grade| grade.course_id))]
async fn no_types(grade: Entity<Grade>) -> u64 {
    grade.id
}

#[computed(
    relation(Grade),
    relation(Grade, ),
    relation(Grade |grade| grade.course_id),
    relation(Grade, |grade| grade.),
    relation(Grade, "course_id"),
    relation(Grade, 1 + 1),
)]
async fn no_maps(grade: Entity<Grade>) -> u64 {
    grade.id
}

#[computed(
    relation(Grade, || 1),
    relation(Grade, |cx, grade| grade.course_id),
    relation(Grade, async |grade| grade.course_id),
    relation(Grade, |a, b, c| 1),
)]
async fn other_parameters(grade: Entity<Grade>) -> u64 {
    grade.id
}

#[computed(
    relation(Grade, |grade| grade.course_id, grade),
    relation(Grade, |grade| grade.course_id, from = grade),
    relation(Grade, |grade| grade.course_id, to),
    relation(Grade, |grade| grade.course_id, to = "grade"),
    relation(Grade, |grade| grade.course_id, to = grade, 1),
)]
async fn more_behind(grade: Entity<Grade>) -> u64 {
    grade.id
}

fn main() {
    let _: (Call<no_types>, Call<no_maps>) = (no_types(1_u64), no_maps(1_u64));
    let _: (Call<other_parameters>, Call<more_behind>) = (other_parameters(1_u64), more_behind(1_u64));
}

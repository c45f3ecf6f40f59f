use smache::{Entity, computed};

#[derive(Clone, serde::Serialize, serde::Deserialize, Entity)]
#[entity(source = "courses")]
struct Course {
    #[entity(id)]
    id: u64,
}

#[computed(relation(Course, version = 0, |course| course.id))]
async fn zero(course: Entity<Course>) -> u64 {
    course.id
}

#[computed(relation(Course, version = "2", |course| course.id))]
async fn text(course: Entity<Course>) -> u64 {
    course.id
}

#[computed(relation(Course, version = 2))]
async fn alone(course: Entity<Course>) -> u64 {
    course.id
}

fn main() {
    let _ = (zero(1_u64), text(1_u64), alone(1_u64));
}

use smache::Entity;

#[derive(Entity)]
struct User {
    #[entity(id)]
    id: u64,
}

#[derive(Entity)]
#[entity(crate = "smache")]
struct Course(#[entity(id)] u64);

fn uses(_: impl smache::EntityType) {}

fn main() {
    uses(User { id: 1 });
    uses(Course(1));
}

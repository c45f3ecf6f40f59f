use smache::Entity;

#[derive(Entity)]
#[entity(source = "users")]
struct User {
    id: u64,
}

#[derive(Entity)]
#[entity(source = "units")]
struct Unit;

fn uses(_: impl smache::EntityType) {}

fn main() {
    uses(User { id: 1 });
    uses(Unit);
}

use smache::Entity;

#[derive(Entity)]
#[entity(source = "users")]
struct User {
    #[entity(id)]
    tenant: u64,
    #[entity(id)]
    number: u64,
}

fn uses(_: impl smache::EntityType) {}

fn main() {
    uses(User { tenant: 1, number: 2 });
}

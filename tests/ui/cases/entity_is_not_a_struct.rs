use smache::Entity;

#[derive(Entity)]
#[entity(source = "users")]
enum User {
    Student(u64),
    Teacher { id: u64 },
}

#[derive(Entity)]
#[entity(source = "bytes")]
union Bytes {
    id: u64,
    bytes: [u8; 8],
}

fn uses(_: impl smache::EntityType) {}

fn main() {
    uses(User::Student(1));
    uses(User::Teacher { id: 1 });
    uses(Bytes { id: 1 });
}

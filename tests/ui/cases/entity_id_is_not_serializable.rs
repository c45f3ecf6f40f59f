use smache::Entity;

#[derive(Clone, Debug)]
struct Key(u64);

#[derive(Entity)]
#[entity(source = "users")]
struct User {
    #[entity(id)]
    id: Key,
}

fn main() {
    let _ = User { id: Key(1) }.id.0;
}

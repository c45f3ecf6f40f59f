use smache::Entity;

#[derive(Entity)]
#[entity(sorce = "users")]
struct Unknown {
    #[entity(key)]
    id: u64,
}

#[derive(Entity)]
#[entity(source = "users", source = "people")]
#[entity(source = "students")]
struct Twice {
    #[entity(id, id)]
    id: u64,
}

#[derive(Entity)]
#[entity(source("users"))]
struct WrongForm {
    #[entity(id = "id")]
    id: u64,
}

#[derive(Entity)]
#[entity = "users"]
struct WithoutParentheses {
    #[entity]
    id: u64,
}

fn uses(_: impl smache::EntityType) {}

fn main() {
    uses(Unknown { id: 1 });
    uses(Twice { id: 1 });
    uses(WrongForm { id: 1 });
    uses(WithoutParentheses { id: 1 });
}

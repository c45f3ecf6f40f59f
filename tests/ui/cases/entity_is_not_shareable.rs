use smache::Entity;

use std::rc::Rc;

#[derive(Entity)]
#[entity(source = "users")]
struct User {
    #[entity(id)]
    id: u64,
    name: Rc<str>,
}

#[derive(Entity)]
#[entity(source = "generic")]
struct Generic<T> {
    #[entity(id)]
    id: u64,
    payload: T,
}

fn main() {
    let user = User { id: 1, name: "John".into() };
    let _ = (user.id, user.name);
    let generic = Generic { id: 1, payload: () };
    let _ = (generic.id, generic.payload);
}

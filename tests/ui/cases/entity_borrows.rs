use smache::Entity;

#[derive(Entity)]
#[entity(source = "users")]
struct User<'a> {
    #[entity(id)]
    id: u64,
    name: &'a str,
}

fn main() {
    let user = User { id: 1, name: "John" };
    let _ = (user.id, user.name);
}

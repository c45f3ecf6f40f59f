use smache::{Entity, computed};

#[derive(Clone, serde::Serialize, serde::Deserialize, Entity)]
#[entity(source = "users")]
struct User {
    #[entity(id)]
    id: u64,
    name: String,
}

#[computed(sources())]
async fn none() {}

#[computed(sources(User, User))]
async fn twice() {}

#[computed(sources("users"))]
async fn text() {}

fn main() {
    let _ = (none(), twice(), text());
}

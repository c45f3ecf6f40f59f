use smache::{Entity, computed};

#[derive(Clone, serde::Serialize, serde::Deserialize, Entity)]
#[entity(source = "users")]
struct User {
    #[entity(id)]
    id: u64,
    name: String,
}

#[computed]
async fn greeting(user: Entity<User>, polite: bool) -> String {
    if polite { user.name.clone() } else { String::new() }
}

fn main() {
    let _ = greeting("john", true);
    let _ = greeting(1_u64, 2);
    let _ = greeting(1_u64);
}

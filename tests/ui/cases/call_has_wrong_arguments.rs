use smache::{Entity, computed};

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct UserId(u64);

#[derive(Clone, serde::Serialize, serde::Deserialize, Entity)]
#[entity(source = "users")]
struct User {
    #[entity(id)]
    id: UserId,
    name: String,
}

#[computed]
async fn greeting(user: Entity<User>, polite: bool) -> String {
    if polite { user.name.clone() } else { String::new() }
}

fn main() {
    let _ = greeting("john", true);
    let _ = greeting(UserId(1), 2);
    let _ = greeting(UserId(1));
}

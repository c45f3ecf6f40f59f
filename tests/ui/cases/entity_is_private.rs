use smache::{Entity, computed};

#[derive(Clone, serde::Serialize, serde::Deserialize, Entity)]
#[entity(source = "users")]
struct User {
    #[entity(id)]
    id: u64,
    name: String,
}

#[computed]
pub async fn greeting(user: Entity<User>) -> String {
    user.name.clone()
}

fn main() {
    let _ = greeting(1_u64);
}

use smache::{Entity, State, computed};

#[derive(Clone, serde::Serialize, serde::Deserialize, Entity)]
#[entity(source = "users")]
struct User {
    #[entity(id)]
    id: u64,
    name: String,
}

#[computed]
async fn borrowed(user: &Entity<User>, state: &mut State<u8>) -> usize {
    user.name.len() + usize::from(**state)
}

#[computed]
async fn optional(user: Option<smache::Entity<User>>) -> bool {
    user.is_some()
}

#[computed]
async fn several(users: Vec<Entity<User>>, pair: (Entity<User>, u8), fine: Entity<User>) -> u64 {
    users.len() as u64 + pair.0.id + fine.id
}

#[computed]
async fn shared(state: std::sync::Arc<State<u8>>) -> u8 {
    **state
}

fn main() {
    let _ = (borrowed(1, 2), optional(1), several(1, 2, 3_u64), shared(1));
}

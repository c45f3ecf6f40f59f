use std::collections::BTreeMap;

use smache::{Call, Entity, computed};

#[derive(Clone, serde::Serialize, serde::Deserialize, Entity)]
#[entity(source = "users")]
struct User {
    #[entity(id)]
    id: u64,
}

type Alias = User;

#[computed]
async fn value(user: User) -> u64 {
    user.id
}

#[computed]
async fn borrowed(user: &User) -> u64 {
    user.id
}

#[computed]
async fn behind_an_alias(polite: bool, user: Alias) -> u64 {
    user.id + u64::from(polite)
}

#[computed]
async fn within(maybe: Option<User>, list: Vec<(u8, User)>, map: BTreeMap<u64, [Box<User>; 2]>) -> usize {
    maybe.iter().count() + list.len() + map.len()
}

// The id is what an argument may be, and an entity is a result like any other.
#[computed]
async fn fine(user: Entity<User>, other: Option<u64>) -> Option<User> {
    other.map(|_| User::clone(&user))
}

fn main() {
    let _: Call<value> = value(User { id: 7 });
    let _ = borrowed(&User { id: 7 });
    let _ = behind_an_alias(true, User { id: 7 });
    let _ = within(None, Vec::new(), BTreeMap::new());
    let _ = fine(7_u64, None);
}

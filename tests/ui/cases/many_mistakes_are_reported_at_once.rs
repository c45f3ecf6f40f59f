use smache::{Cx, Entity, computed};

#[derive(Clone, serde::Serialize, serde::Deserialize, Entity)]
#[entity(source = "users")]
struct User {
    #[entity(id)]
    id: u64,
    name: String,
}

#[computed(tll = "10m", version = 0)]
fn report(cx: Cx, users: Vec<Entity<User>>, name: &str, (from, to): (u64, u64)) -> Option<&'static str> {
    let _ = (cx, users, name, from, to);
    None
}

fn main() {
    let _ = report(1, 2, "x", (3, 4));
}

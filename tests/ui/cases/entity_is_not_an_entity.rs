use smache::{Entity, computed};

struct User {
    name: String,
}

#[computed(sources(User))]
async fn greeting(user: Entity<User>, polite: bool) -> Result<String, std::fmt::Error> {
    let _ = polite;
    Ok(user.name.clone())
}

fn main() {}

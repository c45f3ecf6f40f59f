use smache::{Call, Entity, computed};

#[derive(Clone, serde::Serialize, serde::Deserialize, Entity)]
#[entity(source = "users")]
struct User {
    #[entity(id)]
    id: u64,
    name: String,
}

#[computed]
async fn greeting(user: Entity<User>, polite: bool) -> Result<String, std::num::ParseIntError> {
    let length: u32 = user.name;
    if polite {
        return Ok(missing(length));
    }
    Ok(length)
}

fn main() {
    let _: Call<greeting> = greeting(1_u64, true);
}

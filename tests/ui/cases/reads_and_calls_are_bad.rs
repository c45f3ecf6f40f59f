use serde::{Deserialize, Serialize};
use smache::{Call, Entity, computed};

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "users")]
struct User {
    #[entity(id)]
    id: u64,
}

struct NoEntity;

async fn plain() {}

#[computed]
async fn one() {}

#[computed(reads(), calls())]
async fn empty() {}

#[computed(reads(User, User), calls(one, self::one, one))]
async fn twice() {}

#[computed(reads("users"), calls(one(1)))]
async fn text() {}

#[computed(reads = User, calls = one)]
async fn equals() {}

#[computed(sources(User), reads(User))]
async fn both() {}

#[computed(reads(NoEntity), calls(User))]
async fn others() {}

#[computed(calls(plain))]
async fn no_type() {}

fn main() {
    let _: (Call<empty>, Call<twice>, Call<text>) = (empty(), twice(), text());
    let _: (Call<equals>, Call<both>, Call<others>, Call<no_type>) = (equals(), both(), others(), no_type());
}

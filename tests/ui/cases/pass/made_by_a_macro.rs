//! Types and names that come out of a `macro_rules!`, and functions inside of functions.

use serde::{Deserialize, Serialize};
use smache::{Call, Cx, Entity, computed};

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "users")]
struct User {
    #[entity(id)]
    id: u64,
}

macro_rules! count {
    ($name:ident, $id:literal, $argument:ident: $ty:ty, $cx:ty => $out:ty) => {
        #[computed(id = $id)]
        async fn $name($argument: $ty, cx: $cx) -> $out {
            let _ = (cx, &$argument);
            Ok(1)
        }
    };
}

count!(of_raw, "count.raw", n: Vec<u8>, &Cx => Result<u8, std::io::Error>);
count!(of_entity, "count.entity", user: Entity<User>, &Cx => std::io::Result<u8>);

fn main() {
    #[computed]
    async fn inner(n: u8) -> u8 {
        n
    }
    let _: Call<inner> = inner(1);
    let _: Call<of_raw> = of_raw(Vec::new());
    let _: Call<of_entity> = of_entity(1_u64);
}

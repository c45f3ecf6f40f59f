use serde::{Deserialize, Serialize};
use smache::{Call, Cx, Entity, State, computed};

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "users")]
struct User {
    #[entity(id)]
    id: u64,
    #[entity(field)]
    name: String,
    email: String,
}

#[computed]
async fn no_entities(
    #[entity(fields(name))] cx: &Cx,
    #[entity(fields(name))] state: State<User>,
    #[entity(fields(name))] id: u64,
) -> u64 {
    let _ = (cx, state);
    id
}

#[computed]
async fn wrong_forms(
    #[entity] a: Entity<User>,
    #[entity(fields)] b: Entity<User>,
    #[entity(fields())] c: Entity<User>,
    #[entity(fields("name"))] d: Entity<User>,
    #[entity(field(name))] e: Entity<User>,
    #[entity(fields(name), fields(name))] f: Entity<User>,
    #[entity(fields(name, name))] g: Entity<User>,
) -> u64 {
    a.id + b.id + c.id + d.id + e.id + f.id + g.id
}

#[computed]
async fn no_constants(#[entity(fields(email, name, missing))] user: Entity<User>) -> String {
    user.email.clone()
}

/// The argument is the one mistake.
#[computed]
async fn mistaken(#[entity(fields(name))] user: &Entity<User>) -> String {
    user.name.clone()
}

fn main() {
    let _: Call<no_entities> = no_entities(1);
    let _: Call<wrong_forms> = wrong_forms(1_u64, 2_u64, 3_u64, 4_u64, 5_u64, 6_u64, 7_u64);
    let _: (Call<no_constants>, Call<mistaken>) = (no_constants(1_u64), mistaken(1_u64));
}

//! Entities, states, the context and raw arguments may stand in any order, several of each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smache::{Call, Cx, Entity, Error, State, computed};

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "users")]
struct User {
    #[entity(id)]
    id: u64,
    name: String,
}

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "courses")]
struct Course {
    #[entity(id)]
    id: String,
}

#[derive(Clone, Serialize, Deserialize)]
struct Filter {
    words: Vec<String>,
    limit: Option<u32>,
}

struct Db;
struct Settings {
    polite: bool,
}

#[computed]
async fn nothing() -> u8 {
    7
}

#[computed]
async fn entity_only(user: Entity<User>) -> String {
    user.name.clone()
}

#[computed]
async fn state_only(settings: State<Settings>) -> bool {
    settings.polite
}

#[computed]
async fn context_only(cx: &Cx) -> Result<u8, Error> {
    let _ = cx;
    Ok(1)
}

#[computed]
async fn raw_only(filter: Filter, by: BTreeMap<String, (u8, Option<i64>)>) -> usize {
    filter.words.len() + by.len()
}

#[computed]
async fn mixed(
    polite: bool,
    cx: &smache::Cx,
    user: smache::Entity<User>,
    db: State<Db>,
    other: Entity<User>,
    course: Entity<Course>,
    settings: smache::State<Settings>,
    limit: u32,
) -> Result<String, Error> {
    let _ = (cx, &db, settings.polite, limit, polite);
    Ok(format!("{} {} {}", user.name, other.id, course.id))
}

#[computed]
#[rustfmt::skip]
async fn twelve(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8, j: u8, k: u8, l: u8, db: State<Db>) -> u8 {
    let _ = db;
    a + b + c + d + e + f + g + h + i + j + k + l
}

#[computed]
#[allow(unused_parens)]
#[rustfmt::skip]
async fn patterns(mut counter: u32, _: u32, _unused: u32, last: (u8)) -> u32 {
    counter += u32::from(last);
    counter
}

fn main() {
    let _: Call<nothing> = nothing();
    let _: Call<entity_only> = entity_only(7_u64);
    let _: Call<entity_only> = entity_only(7_u32);
    let _: Call<state_only> = state_only();
    let _: Call<context_only> = context_only();
    let _: Call<raw_only> = raw_only(Filter { words: Vec::new(), limit: None }, BTreeMap::new());
    let _: Call<mixed> = mixed(true, 1_u64, 2_u64, "rust", 9);
    let _: Call<twelve> = twelve(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12).fresh();
    let _: Call<patterns> = patterns(1, 2, 3, 4);
}

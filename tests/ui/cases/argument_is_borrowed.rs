use std::borrow::Cow;

use smache::computed;

#[derive(serde::Serialize, serde::Deserialize)]
struct Filter;

#[computed]
async fn text(text: &str) -> usize {
    text.len()
}

#[computed]
async fn slice(all: &[Vec<u8>]) -> usize {
    all.len()
}

#[computed]
async fn value(filter: &'static Filter, other: &mut Filter) {
    let _ = (filter, other);
}

#[computed]
async fn inside(names: Vec<(u8, &str)>, cow: Cow<'_, str>, fine: Cow<'static, str>) {
    let _ = (names, cow, fine);
}

#[computed]
async fn by_lifetime<'a>(text: &'a str) -> usize {
    text.len()
}

fn main() {
    let _ = text("x");
    let _ = slice(&[]);
    let _ = value(&Filter, &mut Filter);
    let _ = inside(vec![(1, "x")], Cow::from("x"), Cow::from("x"));
    let _ = by_lifetime("x");
}

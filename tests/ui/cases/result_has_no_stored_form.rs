use smache::{Computed, computed};

#[computed]
async fn borrowed(n: u8) -> &'static str {
    if n == 1 { "one" } else { "many" }
}

#[computed]
async fn inside(n: u8) -> Result<Option<&'static str>, std::fmt::Error> {
    Ok(if n == 1 { Some("one") } else { None })
}

#[computed]
async fn opaque(n: u8) -> impl Iterator<Item = u8> {
    0..n
}

fn register<F: Computed>() {}

fn main() {
    register::<borrowed>();
    register::<opaque>();
    let _ = inside(1);
}

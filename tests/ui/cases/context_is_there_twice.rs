use smache::{Cx, computed};

#[computed]
async fn count(cx: &Cx, n: u8, again: &Cx) -> u8 {
    let _ = (cx, again);
    n
}

fn main() {
    let _ = count(1);
}

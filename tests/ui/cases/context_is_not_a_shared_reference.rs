use smache::{Cx, computed};

#[computed]
async fn owned(cx: Cx) {
    let _ = cx;
}

#[computed]
async fn mutable(cx: &mut smache::Cx) {
    let _ = cx;
}

#[computed]
async fn forever(cx: &'static Cx) {
    let _ = cx;
}

#[computed]
async fn optional(cx: Option<&Cx>) {
    let _ = cx;
}

fn main() {
    let _ = (owned(()), mutable(()), forever(), optional(()));
}

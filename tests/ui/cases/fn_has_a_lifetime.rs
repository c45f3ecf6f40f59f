use smache::{Cx, computed};

#[computed]
async fn length<'a>(cx: &'a Cx, text: String) -> usize {
    let _ = cx;
    text.len()
}

fn main() {
    let _ = length("x".to_owned());
}

use smache::computed;

#[computed]
async fn length(text: impl Into<String>, all: Vec<impl Clone>) -> usize {
    text.into().len() + all.len()
}

fn main() {
    let _ = length("x", vec![1]);
}

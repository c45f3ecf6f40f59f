use smache::computed;

#[computed]
async fn sum(a: u32, #[cfg(unix)] b: u32) -> u32 {
    a + b
}

fn main() {
    let _ = sum(1, 2);
}

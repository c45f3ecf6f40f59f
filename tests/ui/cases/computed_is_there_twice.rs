use smache::computed;

#[computed]
#[smache::computed(ttl = "10m")]
async fn double(n: u32) -> u32 {
    n * 2
}

fn main() {
    let _ = double(1);
}

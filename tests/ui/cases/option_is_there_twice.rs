use smache::computed;

#[computed(ttl = "10m", version = 2, ttl = "20m")]
async fn double(n: u32) -> u32 {
    n * 2
}

fn main() {
    let _ = double(1);
}

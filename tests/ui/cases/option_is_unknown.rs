use smache::{Computed, computed};

#[computed(tll = "10m", cache, version = 2)]
async fn double(n: u32) -> u32 {
    n * 2
}

fn register<F: Computed<Output = u32>>() {}

fn main() {
    register::<double>();
    let _ = double(1);
}

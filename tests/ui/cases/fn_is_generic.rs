use smache::{Computed, computed};

#[computed]
async fn first<T: Clone, const N: usize>(all: [T; N]) -> T {
    all[0].clone()
}

fn register<F: Computed>() {}

fn main() {
    register::<first>();
    let _ = first([1_u8, 2]);
}

use smache::{Call, Computed, computed};

#[computed]
fn double(n: u32) -> u32 {
    n * 2
}

fn register<F: Computed<Output = u32>>() {}

fn main() {
    register::<double>();
    let _: Call<double> = double(1);
}

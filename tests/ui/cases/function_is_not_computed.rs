use smache::Computed;

async fn greeting() {}

struct Report;

fn register<F: Computed>() {}

fn main() {
    let _ = greeting();
    register::<Report>();
}

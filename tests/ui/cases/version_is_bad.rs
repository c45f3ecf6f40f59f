use smache::computed;

#[computed(version = 0)]
async fn zero() {}

#[computed(version = 4_294_967_296)]
async fn large() {}

#[computed(version = -1)]
async fn negative() {}

fn main() {
    let _ = (zero(), large(), negative());
}

use smache::computed;

#[computed("double")]
async fn text() {}

#[computed(id = 7, version = "2", ttl = 600, timeout, write_through = "no", sources = [User], crate = smache)]
async fn every() {}

#[computed(ttl: "10m", write_through(false), sources(1), crate = "not a path")]
async fn other() {}

fn main() {
    let _ = (text(), every(), other());
}

use smache::computed;

#[computed("double")]
async fn text() {}

#[computed(id = 7, version = "2", ttl = 600, timeout, refresh = "never", sources = [User], crate = smache)]
async fn every() {}

#[computed(ttl: "10m", refresh(on_read), sources(1), crate = "not a path")]
async fn other() {}

fn main() {
    let _ = (text(), every(), other());
}

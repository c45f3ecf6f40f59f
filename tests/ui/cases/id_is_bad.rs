use smache::computed;

#[computed(id = "")]
async fn empty() {}

#[computed(id = "my report")]
async fn space() {}

#[computed(
    id = "123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789"
)]
async fn long() {}

#[computed]
async fn größe() {}

fn main() {
    let _ = (empty(), space(), long(), größe());
}

use smache::computed;

#[computed]
struct Report;

#[computed]
const LIMIT: u8 = 1;

#[computed]
mod reports {}

trait Reports {
    #[computed]
    async fn count() -> u8;
}

fn main() {
    let _ = (Report, LIMIT);
}

use std::rc::Rc;

use smache::computed;

#[computed]
async fn count(n: u8) -> u8 {
    let counter = Rc::new(n);
    std::future::ready(()).await;
    *counter
}

fn main() {
    let _ = count(1);
}

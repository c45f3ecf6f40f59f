use std::{cell::RefCell, sync::Mutex};

use smache::{State, computed};

#[computed]
async fn count(counter: State<RefCell<u8>>, fine: State<Mutex<u8>>) -> u8 {
    let _ = (counter, fine);
    1
}

fn main() {
    let _ = count();
}

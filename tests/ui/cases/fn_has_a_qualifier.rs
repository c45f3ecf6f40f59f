use smache::computed;

#[computed]
const fn constant() -> u8 {
    1
}

#[computed]
async unsafe fn not_safe() -> u8 {
    1
}

#[computed]
async extern "C" fn external() -> u8 {
    1
}

fn main() {
    let _ = (constant(), not_safe(), external());
}

use smache::computed;

#[computed]
async fn sum((a, b): (u32, u32), all @ [c, ..]: [u32; 3]) -> u32 {
    a + b + c + all[1]
}

fn main() {
    let _ = sum((1, 2), [1, 2, 3]);
}

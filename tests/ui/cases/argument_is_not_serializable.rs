use smache::{Call, Cx, computed};

struct Filter;

#[computed]
async fn count(cx: &Cx, limit: u32, filter: Filter) -> u32 {
    let _ = (cx, filter);
    limit
}

fn main() {
    let _: Call<count> = count(1, Filter);
}

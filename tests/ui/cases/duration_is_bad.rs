use smache::computed;

#[computed(ttl = "10", timeout = "1h30m")]
async fn no_unit() {}

#[computed(ttl = "0s", timeout = "0ms")]
async fn zero() {}

#[computed(ttl = "106751991168d", timeout = "-1s")]
async fn out_of_range() {}

fn main() {
    let _ = (no_unit(), zero(), out_of_range());
}

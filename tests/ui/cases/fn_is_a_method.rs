use smache::computed;

struct Reports;

impl Reports {
    #[computed]
    async fn count(&self, n: u32) -> u32 {
        n
    }
}

fn main() {
    let _ = Reports.count(1);
}

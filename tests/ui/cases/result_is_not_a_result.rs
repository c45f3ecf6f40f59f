use smache::computed;

#[derive(serde::Serialize, serde::Deserialize)]
struct SearchResult(Vec<u64>);

#[computed]
async fn search(text: String) -> SearchResult {
    SearchResult(vec![text.len() as u64])
}

fn main() {
    let _ = search("x".to_owned());
}

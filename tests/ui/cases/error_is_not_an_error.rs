use smache::computed;

#[derive(Debug)]
struct Failed;

type AppResult<T> = Result<T, Failed>;

#[computed]
async fn plain() -> Result<u8, Failed> {
    Err(Failed)
}

#[computed]
async fn in_an_alias() -> AppResult<u8> {
    Err(Failed)
}

fn main() {
    let _ = (plain(), in_an_alias());
}

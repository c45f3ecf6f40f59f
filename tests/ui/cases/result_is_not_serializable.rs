use smache::computed;

struct Report;

type AppResult<T> = Result<T, std::fmt::Error>;

#[computed]
async fn plain() -> Report {
    Report
}

#[computed]
async fn in_a_result() -> Result<Report, std::fmt::Error> {
    Ok(Report)
}

#[computed]
async fn in_an_alias() -> AppResult<Report> {
    Ok(Report)
}

fn main() {
    let _ = (plain(), in_a_result(), in_an_alias());
}

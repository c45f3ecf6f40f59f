//! A type called `…Result` is a result, also under an alias; everything else is the value itself.

use std::io;

use serde::{Deserialize, Serialize};
use smache::{Computed, computed};

type PageResult = Result<Page, io::Error>;
type AppResult<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Page(String);

#[computed]
async fn unit() {}

#[computed]
async fn explicit_unit() -> () {}

#[computed]
async fn option(n: u8) -> Option<Page> {
    (n > 1).then(|| Page(n.to_string()))
}

#[computed]
async fn tuple() -> (u8, String) {
    (1, "one".to_owned())
}

#[computed]
async fn plain_result(n: u8) -> Result<u8, std::num::TryFromIntError> {
    Ok(u8::try_from(i32::from(n) + 1)?)
}

#[computed]
async fn path_of_a_module() -> io::Result<Page> {
    Err(io::Error::other("disk"))
}

#[computed]
async fn alias_without_arguments() -> PageResult {
    Ok(Page("x".to_owned()))
}

#[computed]
async fn alias_with_an_argument(text: String) -> AppResult<u32> {
    Ok(text.parse()?)
}

#[computed]
async fn result_in_a_result() -> Result<Result<u8, String>, io::Error> {
    Ok(Err("no".to_owned()))
}

fn answers<F: Computed<Output = T>, T>() {}

fn main() {
    answers::<unit, ()>();
    answers::<explicit_unit, ()>();
    answers::<option, Option<Page>>();
    answers::<tuple, (u8, String)>();
    answers::<plain_result, u8>();
    answers::<path_of_a_module, Page>();
    answers::<alias_without_arguments, Page>();
    answers::<alias_with_an_argument, u32>();
    answers::<result_in_a_result, Result<u8, String>>();
}

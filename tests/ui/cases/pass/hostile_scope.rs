//! Nothing of the user's scope gets into generated code.

#![no_implicit_prelude]

#[allow(dead_code)]
mod core {}
#[allow(dead_code)]
mod smache {}
#[allow(dead_code)]
mod std {}

use ::serde::{Deserialize, Serialize};

type Failure = ();
type Declaration = ();
type Result<T> = ::std::result::Result<T, ::std::io::Error>;
#[allow(dead_code)]
trait Into {}
#[allow(non_snake_case)]
fn Ok() {}
#[allow(non_upper_case_globals)]
const cx: u8 = 1;
#[allow(non_upper_case_globals)]
const arg0: u8 = 2;

#[derive(Serialize, Deserialize, ::smache::Entity)]
#[entity(source = "users", index(number, name))]
struct User {
    #[entity(id)]
    id: u64,
    #[entity(index)]
    number: u64,
    #[entity(field)]
    name: ::std::string::String,
}

#[::smache::computed(
    ttl = "1d",
    reads(User),
    calls(other),
    relation(User, |user| user.number),
    relation(User, async |context, _| {
        context.load::<User>(&1).await?;
        user_id()
    }),
)]
async fn hostile(
    #[entity(fields(name, number))] user: ::smache::Entity<User>,
    state: ::smache::State<u8>,
    _: u8,
    context: &::smache::Cx,
) -> Result<u64> {
    let _ = (state, context);
    ::std::result::Result::Ok(user.id)
}

#[::smache::computed]
async fn other() {}

fn user_id() -> u64 {
    7
}

fn main() {
    let _: (Failure, Declaration, u8, u8) = ((), (), cx, arg0);
    Ok();
    let _ = hostile(1_u64, 2);
}

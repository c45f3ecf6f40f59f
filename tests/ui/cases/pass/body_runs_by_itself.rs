//! The body is there as `run`, for unit tests, with everything that it is made of.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use serde::{Deserialize, Serialize};
use smache::{Cx, Entity, Error, State, computed};

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "users")]
struct User {
    #[entity(id)]
    id: u64,
    name: String,
}

#[computed]
async fn greeting(user: Entity<User>, hello: State<String>, times: usize) -> Result<String, Error> {
    let text = format!("{} {}", *hello, user.name);
    Ok(vec![text; times].join(", "))
}

#[computed]
async fn nested(cx: &Cx, id: u64) -> Result<usize, Error> {
    let greeting = greeting(id, 2);
    let _ = (cx, greeting);
    Ok(0)
}

fn main() {
    let john = User { id: 7, name: "John".to_owned() };
    let future = greeting::run(Entity::new(john), State::new("Hello".to_owned()), 2);
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(text) => assert_eq!(text.expect("a greeting"), "Hello John, Hello John"),
        Poll::Pending => panic!("nothing to wait for"),
    }
    let _ = nested(7);
}

//! The computed functions that the tests share.

use std::time::Duration;

use smache::{Builder, Cx, Entity, State, computed};

use crate::{
    probe::{Probe, Refused},
    world::User,
};

pub(crate) type Any = Box<dyn std::error::Error + Send + Sync>;

/// A function of one user.
#[computed]
pub(crate) async fn greeting(user: Entity<User>, probe: State<Probe>) -> Result<String, Refused> {
    probe.pass(format!("greeting {}", user.id)).await?;
    Ok(format!("Hello, {}", user.name))
}

/// The same, refreshed on read.
#[computed(refresh = "on_read")]
pub(crate) async fn lazy_greeting(user: Entity<User>, probe: State<Probe>) -> Result<String, Refused> {
    probe.pass(format!("lazy_greeting {}", user.id)).await?;
    Ok(format!("Hello, {}", user.name))
}

/// A function of nothing but its argument.
#[computed]
pub(crate) async fn square(n: i64, probe: State<Probe>) -> Result<i64, Refused> {
    probe.pass(format!("square {n}")).await?;
    Ok(n * n)
}

/// A function that finds out while it runs what it depends on: a user called `see 7` stands for user 7.
#[computed]
pub(crate) async fn real_name(cx: &Cx, id: i64, probe: State<Probe>) -> Result<Option<String>, Any> {
    probe.pass(format!("real_name {id}")).await?;
    let Some(user) = cx.load::<User>(&id).await? else { return Ok(None) };
    match user.name.strip_prefix("see ") {
        Some(other) => Ok(cx.load::<User>(&other.parse()?).await?.map(|user| user.name.clone())),
        None => Ok(Some(user.name.clone())),
    }
}

/// As [`real_name`], but its read is old before the gate opens.
#[computed]
pub(crate) async fn read_first(cx: &Cx, id: i64, probe: State<Probe>) -> Result<Option<String>, Any> {
    let name = cx.load::<User>(&id).await?.map(|user| user.name.clone());
    probe.pass(format!("read_first {id}")).await?;
    Ok(name)
}

/// A function of a whole source, declared.
#[computed(sources(User))]
pub(crate) async fn census(cx: &Cx, probe: State<Probe>) -> Result<Vec<String>, Any> {
    let mut names: Vec<String> = cx.all::<User>().await?.iter().map(|user| user.name.clone()).collect();
    names.sort();
    probe.pass("census").await?;
    Ok(names)
}

/// A function of a whole source, by reading it.
#[computed]
pub(crate) async fn population(cx: &Cx, probe: State<Probe>) -> Result<usize, Any> {
    probe.pass("population").await?;
    Ok(cx.all::<User>().await?.len())
}

/// A function whose results end after a minute.
#[computed(ttl = "1m")]
pub(crate) async fn news(of: i64, probe: State<Probe>) -> Result<usize, Refused> {
    probe.pass(format!("news {of}")).await?;
    Ok(probe.runs())
}

/// A function of a user whose results end after a minute.
#[computed(ttl = "1m")]
pub(crate) async fn motto(user: Entity<User>, number: i64, probe: State<Probe>) -> Result<String, Refused> {
    probe.pass(format!("motto {}", user.id)).await?;
    Ok(format!("{} {number}", user.name))
}

/// A function that may run for half a second.
#[computed(timeout = "500ms")]
pub(crate) async fn hurried(user: Entity<User>, probe: State<Probe>) -> Result<String, Refused> {
    probe.pass(format!("hurried {}", user.id)).await?;
    Ok(user.name.clone())
}

/// A function that takes a while in any case.
#[computed]
pub(crate) async fn slow(user: Entity<User>, millis: u64, probe: State<Probe>) -> Result<String, Refused> {
    probe.pass(format!("slow {}", user.id)).await?;
    tokio::time::sleep(Duration::from_millis(millis)).await;
    Ok(user.name.clone())
}

pub(crate) fn register(builder: Builder) -> Builder {
    builder
        .register::<greeting>()
        .register::<lazy_greeting>()
        .register::<square>()
        .register::<real_name>()
        .register::<read_first>()
        .register::<census>()
        .register::<population>()
        .register::<news>()
        .register::<motto>()
        .register::<hurried>()
        .register::<slow>()
}

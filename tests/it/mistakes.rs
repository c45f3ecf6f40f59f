//! Mistakes of the programmer: an error that names the thing and the fix, and never a panic.

use std::time::Duration;

use smache::{
    Call, Computed, Cx, Declaration, Entity, Error, ErrorKind, Failure, Result, Smache, State,
    backend::EntityType,
    computed,
    memory::{Memory, MemorySource},
};

use crate::{
    functions::{Any, greeting, square},
    probe::Probe,
    waits::until_fresh,
    world::{User, World},
};

#[computed]
async fn alone(n: u8) -> u8 {
    n
}

#[computed(id = "alone")]
async fn impostor(n: u8) -> u16 {
    n.into()
}

#[computed]
async fn stateful(n: u8, limit: State<u32>) -> u32 {
    *limit + u32::from(n)
}

#[computed]
async fn secretive(cx: &Cx, id: i64) -> Result<bool, Any> {
    Ok(cx.load::<User>(&id).await?.is_some())
}

#[computed]
async fn large(bytes: usize, probe: State<Probe>) -> String {
    probe.pass("large").await.expect("the test lets it succeed");
    "x".repeat(bytes + probe.runs())
}

/// Another type under the name of the users' source.
#[derive(Debug, Clone, smache::Entity)]
#[entity(source = "users")]
struct Impostor {
    #[entity(id)]
    id: i64,
}

#[computed]
async fn of_the_impostor(user: Entity<Impostor>) -> i64 {
    user.id
}

fn names(error: &Error, kind: ErrorKind, parts: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    assert!(!text.ends_with('.') && text.starts_with(|c: char| c.is_lowercase() || c == '`'), "{text}");
    assert!(!error.is_transient(), "the program has to change: {text}");
}

fn builder() -> smache::Builder {
    Smache::builder("mistakes").backend(Memory::new())
}

async fn refused(builder: smache::Builder) -> Error {
    builder.build().await.expect_err("a mistake")
}

#[tokio::test(start_paused = true)]
async fn a_function_that_is_not_registered() -> Result<()> {
    let smache = builder().build().await?;
    let errors = [
        smache.get(alone(1)).await.map(drop),
        smache.get_many([alone(1)]).await.remove(0).map(drop),
        smache.peek(alone(1)).await.map(drop),
        smache.is_fresh(alone(1)).await.map(drop),
        smache.refresh(alone(1)).await.map(drop),
        smache.invalidate(alone(1)).await.map(drop),
        smache.invalidate_function::<alone>().await.map(drop),
        smache.inspect().entry_id(&alone(1)).map(drop),
    ];
    for error in errors {
        names(&error.expect_err("unregistered"), ErrorKind::Unregistered, &["`alone`", ".register::<"]);
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_not_registered() -> Result<()> {
    let error = refused(builder().state(Probe::default()).register::<greeting>()).await;
    names(&error, ErrorKind::Unregistered, &["`greeting`", "`users`", ".source("]);

    let smache = builder().register::<secretive>().build().await?;
    let error = smache.get(secretive(1)).await.expect_err("it reads an undeclared source");
    names(&error, ErrorKind::Unregistered, &["`users`", ".source("]);
    let error = smache.changed::<User>(&1).await.expect_err("unregistered");
    names(&error, ErrorKind::Unregistered, &["`users`", ".source("]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn two_functions_under_one_id() -> Result<()> {
    let error = refused(builder().register::<alone>().register::<impostor>()).await;
    names(&error, ErrorKind::Config, &["`alone`", "another `id`"]);
    let smache = builder().register::<alone>().register::<alone>().register::<alone>().build().await?;
    assert_eq!(*smache.get(alone(1)).await?, 1, "the same one twice is no mistake");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn two_sources_under_one_id() {
    let error = refused(builder().source(MemorySource::<User>::new()).source(MemorySource::<User>::new())).await;
    names(&error, ErrorKind::Config, &["`users`", "register one"]);
    let error = refused(builder().source(MemorySource::<User>::new()).source(MemorySource::<Impostor>::new())).await;
    names(&error, ErrorKind::Config, &["`users`", "register one"]);
}

#[tokio::test(start_paused = true)]
async fn an_entity_of_another_type_than_its_source_holds() -> Result<()> {
    let error = match builder().source(MemorySource::<User>::new()).register::<of_the_impostor>().build().await {
        Ok(smache) => smache.get(of_the_impostor(1)).await.expect_err("the wrong type"),
        Err(error) => error,
    };
    names(&error, ErrorKind::Unregistered, &["`users`", "User`", "Impostor`"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn names_that_cannot_be() {
    let long = "x".repeat(129);
    for bad in ["", " ", "a b", "ä", "shop\0", "shop{1}", "a*", long.as_str()] {
        let error = refused(Smache::builder(bad).backend(Memory::new())).await;
        names(&error, ErrorKind::Config, &["namespace", "letters"]);
    }
    struct Nameless;
    impl Computed for Nameless {
        type Args = ();
        type Output = ();
        fn declaration() -> Declaration {
            Declaration::new("")
        }
        async fn compute(_: &Cx, (): ()) -> Result<(), Failure> {
            Ok(())
        }
    }
    names(&refused(builder().register::<Nameless>()).await, ErrorKind::Config, &["function id", "empty", "letters"]);

    struct Homeless(u8);
    impl EntityType for Homeless {
        type Id = u8;
        const SOURCE: &'static str = "no where";
        fn id(&self) -> &u8 {
            &self.0
        }
    }
    struct OfTheHomeless;
    impl Computed for OfTheHomeless {
        type Args = (u8,);
        type Output = u8;
        fn declaration() -> Declaration {
            Declaration::new("homeless").entity::<Homeless>()
        }
        async fn compute(cx: &Cx, (id,): (u8,)) -> Result<u8, Failure> {
            Ok(*cx.entity::<Homeless>(&id).await?.id())
        }
    }
    names(
        &refused(builder().register::<OfTheHomeless>()).await,
        ErrorKind::Config,
        &["source id", "`no where`", "letters"],
    );
}

#[tokio::test(start_paused = true)]
async fn no_backend_or_half_of_one() {
    names(&refused(Smache::builder("x")).await, ErrorKind::Config, &["no store", ".backend("]);
    names(&refused(Smache::builder("x").store(Memory::new())).await, ErrorKind::Config, &["no queue"]);
    names(&refused(Smache::builder("x").queue(Memory::new())).await, ErrorKind::Config, &["no store"]);
}

#[tokio::test(start_paused = true)]
async fn bounds_of_zero() {
    let zero = Duration::ZERO;
    let bad = [
        ("store_timeout", builder().store_timeout(zero)),
        ("wait_timeout", builder().wait_timeout(zero)),
        ("run_lease", builder().run_lease(Duration::from_micros(1))),
        ("max_argument_bytes", builder().max_argument_bytes(0)),
        ("max_value_bytes", builder().max_value_bytes(0)),
        ("ttl", builder().register::<Timed<0>>()),
        ("timeout", builder().register::<Timed<1>>()),
    ];
    for (name, builder) in bad {
        match builder.build().await {
            Err(error) => names(&error, ErrorKind::Config, &[name]),
            Ok(_) => panic!("`{name}` of zero is accepted"),
        }
    }
}

/// By hand, the macro's checks do not help.
struct Timed<const WHICH: u8>;

impl<const WHICH: u8> Computed for Timed<WHICH> {
    type Args = (u8,);
    type Output = u8;

    fn declaration() -> Declaration {
        match WHICH {
            0 => Declaration::new("timed").ttl(Duration::ZERO),
            1 => Declaration::new("timed").timeout(Duration::from_micros(999)),
            _ => Declaration::new("timed").ttl(Duration::MAX).timeout(Duration::MAX),
        }
    }

    async fn compute(_: &Cx, (n,): (u8,)) -> Result<u8, Failure> {
        Ok(n)
    }
}

#[tokio::test(start_paused = true)]
async fn bounds_without_an_end_are_bounds_like_any_other() -> Result<()> {
    let most = Duration::MAX;
    let builder = builder().register::<alone>().register::<Timed<2>>().store_timeout(most).run_lease(most);
    let smache = builder.build().await?;
    assert_eq!(*smache.get(Call::<Timed<2>>::new((7,))).await?, 7);
    assert_eq!(*smache.get(alone(1).max_stale(most)).await?, 1);
    let smache = self::builder().register::<alone>().wait_timeout(most).build().await?;
    let worker =
        smache.worker().concurrency(usize::MAX).poll_interval(most).job_lease(most).backoff(most, most).start();
    assert_eq!(*smache.refresh(alone(1)).await?, 1);
    worker.shutdown(most).await;
    Ok(())
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn bounds_without_an_end_are_bounds_for_a_file_too() -> Result<()> {
    use smache::Connect;

    let folder = tempfile::tempdir().expect("a folder");
    let most = Duration::MAX;
    let builder = Smache::builder("shop").sqlite(folder.path().join("app.db")).register::<alone>();
    let smache = builder.store_timeout(most).run_lease(most).build().await?;
    assert_eq!(*smache.get(alone(1)).await?, 1);
    let worker = smache.worker().concurrency(usize::MAX).poll_interval(most).job_lease(most).start();
    smache.invalidate(alone(1)).await?;
    until_fresh(&smache, alone(1)).await;
    worker.shutdown(Duration::from_secs(10)).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_missing_state() -> Result<()> {
    let smache = builder().register::<stateful>().build().await?;
    let error = smache.get(stateful(1)).await.expect_err("no state");
    names(&error, ErrorKind::Unregistered, &["u32", ".state("]);
    let smache = builder().register::<stateful>().state(1_u32).state(7_u32).build().await?;
    assert_eq!(*smache.get(stateful(1)).await?, 8, "the later one replaces the earlier one");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_result_above_the_limit() -> Result<()> {
    let world = World::attached();
    let smache = world.builder().register::<large>().max_value_bytes(1_004).build().await?;
    let first = smache.get(large(1_000)).await?;
    assert_eq!(first.len(), 1_001, "with its quotes and its format it fits");
    let error = smache.refresh(large(1_000)).await.expect_err("one byte too many");
    names(&error, ErrorKind::TooLarge, &["large", "1004", "max_value_bytes"]);
    assert_eq!(smache.get(large(1_000)).await?.len(), 1_001, "what was stored stays");
    assert!(smache.is_fresh(large(1_000)).await?);
    let error = smache.get(large(5_000)).await.expect_err("too large");
    names(&error, ErrorKind::TooLarge, &["large", "max_value_bytes"]);
    let stats = smache.inspect().stats().await?;
    assert_eq!((stats.store.entries, stats.store.running), (1, 0));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_entity_id_that_cannot_be_a_key() -> Result<()> {
    #[derive(Debug, Clone, smache::Entity)]
    #[entity(source = "points")]
    struct Point(#[entity(id)] f64);

    #[computed]
    async fn point(point: Entity<Point>) -> f64 {
        point.0
    }

    let points = MemorySource::<Point>::new();
    points.insert(Point(0.5))?;
    names(&points.insert(Point(f64::NAN)).expect_err("not a number"), ErrorKind::Argument, &["entity id"]);
    let smache = builder().source(points).register::<point>().build().await?;
    assert_eq!(*smache.get(point(0.5)).await?, 0.5);
    names(&smache.get(point(f64::NAN)).await.expect_err("not a number"), ErrorKind::Argument, &["point"]);
    let error = smache.changed::<Point>(&f64::NAN).await.expect_err("not a number");
    names(&error, ErrorKind::Argument, &["entity id"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn mistakes_of_one_call_do_not_disturb_the_next() -> Result<()> {
    let world = World::attached();
    let smache = world.builder().register::<stateful>().build().await?;
    for _ in 0..3 {
        assert!(smache.get(stateful(1)).await.is_err());
        assert_eq!(*smache.get(square(3)).await?, 9);
    }
    assert_eq!(smache.inspect().stats().await?.store.running, 0);
    Ok(())
}

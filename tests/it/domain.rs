//! Errors of the domain: no outages, kept for a while if the function says so, and ended by a change.

use std::time::Duration;

use smache::{Cx, Entity, ErrorKind, Failure, Result, Smache, State, computed};

use crate::{
    probe::{Probe, Refused, until},
    waits::until_fresh,
    world::{User, World},
};

const SECOND: Duration = Duration::from_secs(1);

/// A report that a user may be refused: by a name that begins with `no`.
#[computed(cache_errors = "10s")]
async fn report(cx: &Cx, id: i64, probe: State<Probe>) -> Result<String, Failure> {
    probe.pass(format!("report {id}")).await?;
    let Some(user) = cx.load::<User>(&id).await? else { return Err(Failure::gone()) };
    match user.name.as_str() {
        name if name.starts_with("no") => Err(Failure::permanent(Refused(name.to_owned()))),
        "away" => Err(Failure::transient(Refused("away".to_owned()))),
        name => Ok(format!("all of {name}")),
    }
}

#[computed(cache_errors = "10s")]
async fn entitled(user: Entity<User>, probe: State<Probe>) -> String {
    probe.pass(format!("entitled {}", user.id)).await.expect("the test lets it succeed");
    user.name.clone()
}

/// The report, or why there is none.
#[computed]
async fn cover(cx: &Cx, id: i64) -> Result<String, Failure> {
    Ok(match cx.get(report(id)).await {
        Ok(report) => format!("Report: {}", *report),
        Err(error) => format!("None: {:?}", error.kind()),
    })
}

#[computed(on_permanent = "remove")]
async fn strict(user: Entity<User>, probe: State<Probe>) -> Result<String, Failure> {
    probe.pass(format!("strict {}", user.id)).await?;
    if user.name == "no" { Err(Failure::permanent("refused")) } else { Ok(user.name.clone()) }
}

#[computed]
async fn lenient(user: Entity<User>, probe: State<Probe>) -> Result<String, Failure> {
    probe.pass(format!("lenient {}", user.id)).await?;
    match user.name.as_str() {
        "no" => Err(Failure::permanent("refused")),
        "away" => Err(Failure::transient("another client has no connection")),
        name => Ok(name.to_owned()),
    }
}

async fn start(world: &World) -> Result<Smache> {
    let builder = world.builder().register::<report>().register::<entitled>().register::<cover>();
    builder.register::<strict>().register::<lenient>().build().await
}

async fn changed(world: &World, smache: &Smache, id: i64, name: &str) -> Result<()> {
    world.put(id, name).await?;
    smache.changed::<User>(&id).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn an_error_is_kept_until_its_time_is_over() -> Result<()> {
    let world = World::attached();
    let smache = start(&world).await?;
    for _ in 0..50 {
        let error = smache.get(report(1).fresh()).await.expect_err("the user is absent");
        assert_eq!(error.kind(), ErrorKind::Gone);
        assert_eq!(smache.get(entitled(1)).await.expect_err("the user is absent").kind(), ErrorKind::Gone);
    }
    assert_eq!(world.probe.log(), ["report 1"], "the entity of the other one is looked for before it runs");
    assert!(smache.peek(report(1)).await?.is_none() && !smache.is_fresh(report(1)).await?);
    tokio::time::sleep(11 * SECOND).await;
    smache.get(report(1)).await.expect_err("the user is absent");
    assert_eq!(world.probe.runs(), 2, "and then looked for again");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_kept_error_says_what_the_first_one_said() -> Result<()> {
    let world = World::attached();
    world.put(1, "noah").await?;
    let smache = start(&world).await?;
    let first = smache.get(report(1)).await.expect_err("refused");
    let kept = smache.get(report(1)).await.expect_err("refused");
    assert_eq!((kept.kind(), kept.report()), (ErrorKind::Function, first.report()));
    assert!(first.function_error::<Refused>().is_some(), "who waited for the run has the error itself");
    assert_eq!(world.probe.runs(), 1);
    assert!(smache.refresh(report(1)).await.is_err());
    assert_eq!(world.probe.runs(), 2);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_change_ends_a_kept_error_at_once() -> Result<()> {
    let world = World::attached();
    let smache = start(&world).await?;
    smache.get(report(1)).await.expect_err("the user is absent");
    changed(&world, &smache, 1, "Anna").await?;
    assert_eq!(smache.inspect().stats().await?.jobs.recompute, 0, "no job waits for it");
    assert_eq!(*smache.get(report(1)).await?, "all of Anna");
    changed(&world, &smache, 1, "noah").await?;
    smache.run_until_idle().await?;
    assert_eq!(*smache.get(report(1)).await?, "all of Anna", "an error does not take the place of a value");
    world.remove(1).await?;
    smache.changed::<User>(&1).await?;
    assert_eq!(smache.get(report(1).fresh()).await.expect_err("gone").kind(), ErrorKind::Gone);
    let runs = world.probe.runs();
    assert_eq!(smache.get(report(1)).await.expect_err("gone").kind(), ErrorKind::Gone);
    assert_eq!(world.probe.runs(), runs, "kept in its place");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_tolerated_kept_error_brings_its_dependencies() -> Result<()> {
    let world = World::attached();
    let smache = start(&world).await?;
    smache.get(report(1)).await.expect_err("the user is absent");
    let covered = smache.get(cover(1)).await?;
    assert_eq!((covered.as_str(), covered.is_fresh()), ("None: Gone", true), "the kept error is an answer");
    assert_eq!(world.probe.runs(), 1);
    assert!(smache.is_fresh(cover(1)).await?);
    changed(&world, &smache, 1, "Anna").await?;
    assert!(!smache.is_fresh(cover(1)).await?);
    smache.run_until_idle().await?;
    assert_eq!(*smache.get(cover(1)).await?, "Report: all of Anna");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_kept() -> Result<()> {
    let world = World::attached();
    world.put(1, "away").await?;
    let smache = start(&world).await?;
    for run in 1..=2 {
        let error = smache.get(report(1)).await.expect_err("it is away");
        assert!(error.is_transient() && error.function_error::<Refused>().is_some());
        assert_eq!(world.probe.runs(), run);
    }
    assert_eq!(smache.inspect().stats().await?.store.entries, 0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_is_not_tried_again_and_removes_or_keeps_the_value() -> Result<()> {
    let world = World::attached();
    world.put(1, "Anna").await?;
    let smache = start(&world).await?;
    smache.get(strict(1)).await?;
    smache.get(lenient(1)).await?;
    let worker = smache.worker().backoff(SECOND, SECOND).start();
    changed(&world, &smache, 1, "no").await?;
    until("the job is over", async || Ok(smache.inspect().stats().await?.jobs.dead_letters == 1)).await?;
    until("the value is removed", async || Ok(smache.peek(strict(1)).await?.is_none())).await?;
    tokio::time::sleep(600 * SECOND).await;
    assert_eq!(*smache.get(lenient(1)).await?, "Anna", "the last good value");
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(world.probe.runs(), 4, "one run each: {:?}", world.probe.log());
    let dead = smache.inspect().dead_letters(10).await?;
    assert!(dead[0].error.starts_with("permanent: "), "{}", dead[0].error);
    assert_eq!(smache.get(strict(1)).await.expect_err("refused").kind(), ErrorKind::Function);
    changed(&world, &smache, 1, "Annie").await?;
    until_fresh(&smache, lenient(1)).await;
    worker.shutdown(SECOND).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_job_waits_for_what_its_function_says_is_away() -> Result<()> {
    let world = World::attached();
    world.put(1, "Anna").await?;
    let smache = start(&world).await?;
    smache.get(lenient(1)).await?;
    let worker = smache.worker().max_attempts(1).start();
    changed(&world, &smache, 1, "away").await?;
    tokio::time::sleep(300 * SECOND).await;
    assert_eq!(smache.inspect().dead_letters(10).await?, []);
    // The table is written without a report: only the job that waits finds out.
    world.put(1, "Annie").await?;
    tokio::time::sleep(5 * SECOND).await;
    assert!(smache.is_fresh(lenient(1)).await?);
    assert_eq!(*smache.get(lenient(1)).await?, "Annie");
    worker.shutdown(SECOND).await;
    Ok(())
}

//! Jobs that fail: they run again, later, and at last become dead letters.

use std::time::Duration;

use smache::{
    Result, Smache,
    backend::{Lane, Reserve},
};
use tokio::time::Instant;

use crate::{
    functions::{greeting, hurried},
    probe::{Act, until, until_within},
    waits::until_fresh,
    world::{User, World},
};

const SECOND: Duration = Duration::from_secs(1);

/// A stored greeting of a user that has changed since.
async fn stale(world: &World) -> Result<Smache> {
    let smache = world.with_user("old").await?;
    smache.get(greeting(1)).await?;
    world.put(1, "new").await?;
    smache.changed::<User>(&1).await?;
    Ok(smache)
}

async fn dead_letter(smache: &Smache) -> Result<bool> {
    Ok(smache.inspect().stats().await?.jobs.dead_letters > 0)
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_is_tried_again_later_and_later() -> Result<()> {
    let world = World::attached();
    let smache = stale(&world).await?;
    world.probe.act(Act::Fail);
    let begin = Instant::now();
    let worker = smache.worker().backoff(4 * SECOND, 8 * SECOND).max_attempts(10).start();
    let mut at = Vec::new();
    for attempt in 1..=5 {
        world.probe.arrived(1 + attempt).await;
        at.push(begin.elapsed());
    }
    let pauses: Vec<Duration> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let within = |pause: Duration, least: u32, most: u32| pause >= least * SECOND && pause <= (most + 1) * SECOND;
    assert!(at[0] < SECOND, "the first one at once: {at:?}");
    assert!(within(pauses[0], 2, 4), "half to all of the first backoff: {pauses:?}");
    assert!(pauses[1..].iter().all(|pause| within(*pause, 4, 8)), "doubled, and then bounded: {pauses:?}");
    world.probe.act(Act::Succeed);
    until_fresh(&smache, greeting(1)).await;
    assert_eq!(smache.inspect().record(&smache.inspect().entry_id(&greeting(1))?).await?.expect("stored").failures, 0);
    assert_eq!(smache.inspect().dead_letters(10).await?, []);
    worker.shutdown(SECOND).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn errors_panics_and_timeouts_count_alike_and_the_last_one_buries_the_job() -> Result<()> {
    let world = World::attached();
    let smache = world.with_user("old").await?;
    smache.get(hurried(1)).await?;
    smache.changed::<User>(&1).await?;
    let worker = smache.worker().backoff(SECOND, SECOND).max_attempts(3).start();
    world.probe.act(Act::Fail);
    world.probe.arrived(2).await;
    world.probe.ended(2).await;
    world.probe.act(Act::Panic);
    world.probe.arrived(3).await;
    world.probe.ended(3).await;
    world.probe.act(Act::Sleep(10 * SECOND));
    until("it becomes a dead letter", async || dead_letter(&smache).await).await?;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(world.probe.runs(), 1 + 3, "no more after that");

    let dead = smache.inspect().dead_letters(10).await?;
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].id, dead[0].call.as_str()), (smache.inspect().entry_id(&hurried(1))?, "hurried@1(1)"));
    assert!(dead[0].error.contains("took longer than 500ms"), "{}", dead[0].error);
    assert_eq!(*smache.get(hurried(1)).await?, "old", "the last good value stays");
    assert_eq!(smache.inspect().record(&dead[0].id).await?.expect("stored").failures, 3);
    worker.shutdown(SECOND).await;
    Ok(())
}

/// A dead letter and its worker, which still runs.
async fn dead(world: &World) -> Result<(Smache, smache::Worker)> {
    let smache = stale(world).await?;
    world.probe.act(Act::Fail);
    let worker = smache.worker().backoff(Duration::from_millis(10), SECOND).max_attempts(2).start();
    until("it becomes a dead letter", async || dead_letter(&smache).await).await?;
    assert_eq!(world.probe.runs(), 3);
    Ok((smache, worker))
}

#[tokio::test(start_paused = true)]
async fn a_dead_job_is_put_back_by_hand() -> Result<()> {
    let world = World::attached();
    let (smache, worker) = dead(&world).await?;
    let ids: Vec<_> = smache.inspect().dead_letters(10).await?.iter().map(|job| job.id).collect();
    assert_eq!(smache.requeue(&ids).await?, 1);
    until("it fails again", async || Ok(dead_letter(&smache).await? && world.probe.runs() == 5)).await?;
    world.probe.act(Act::Succeed);
    assert_eq!(smache.requeue(&ids).await?, 1);
    until_fresh(&smache, greeting(1)).await;
    assert_eq!(smache.inspect().dead_letters(10).await?, []);
    assert_eq!(smache.requeue(&ids).await?, 0, "there is none any more");
    worker.shutdown(SECOND).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_new_change_revives_a_dead_job() -> Result<()> {
    let world = World::attached();
    let (smache, worker) = dead(&world).await?;
    world.probe.act(Act::Succeed);
    world.put(1, "newer").await?;
    smache.changed::<User>(&1).await?;
    assert_eq!(*until_fresh(&smache, greeting(1)).await, "Hello, newer");
    assert_eq!(smache.inspect().dead_letters(10).await?, []);
    worker.shutdown(SECOND).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_succeeds_clears_a_dead_job() -> Result<()> {
    let world = World::attached();
    let (smache, worker) = dead(&world).await?;
    world.probe.act(Act::Succeed);
    assert!(smache.get(greeting(1).fresh()).await?.is_fresh());
    assert_eq!(smache.inspect().dead_letters(10).await?, []);
    worker.shutdown(SECOND).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn without_a_change_or_a_reader_a_dead_job_stays_dead() -> Result<()> {
    let world = World::attached();
    let (smache, worker) = dead(&world).await?;
    tokio::time::sleep(120 * SECOND).await;
    assert_eq!((world.probe.runs(), dead_letter(&smache).await?), (3, true));
    worker.shutdown(SECOND).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn readers_give_a_dead_job_another_chance_now_and_then() -> Result<()> {
    let world = World::attached();
    let (smache, worker) = dead(&world).await?;
    tokio::time::sleep(20 * SECOND).await;
    for _ in 0..600 {
        smache.get(greeting(1)).await?;
        tokio::time::sleep(SECOND).await;
    }
    let runs = world.probe.runs();
    assert!((5..=3 + 2 * 6).contains(&runs), "two attempts each time, and less and less often: {runs}");
    world.probe.act(Act::Succeed);
    until_within(2000 * SECOND, "it succeeds", async || {
        smache.get(greeting(1)).await?;
        smache.is_fresh(greeting(1)).await
    })
    .await?;
    worker.shutdown(SECOND).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_success_of_the_function_gives_its_dead_jobs_another_chance() -> Result<()> {
    let world = World::attached();
    let (smache, worker) = dead(&world).await?;
    world.put(2, "Ben").await?;
    world.probe.act(Act::Succeed);
    tokio::time::sleep(60 * SECOND).await;
    smache.get(greeting(2)).await?;
    assert!(dead_letter(&smache).await?, "a reader's run costs nothing more");
    smache.changed::<User>(&2).await?;
    assert_eq!(*until_fresh(&smache, greeting(1)).await, "Hello, new");
    worker.shutdown(SECOND).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn maintenance_does_not_pull_a_job_forward_that_backs_off() -> Result<()> {
    let world = World::attached();
    let smache = stale(&world).await?;
    world.probe.act(Act::Fail);
    let worker = smache.worker().backoff(600 * SECOND, 600 * SECOND).start();
    world.probe.arrived(2).await;
    tokio::time::sleep(120 * SECOND).await;
    assert_eq!(world.probe.runs(), 2, "the reconciler came by several times");
    worker.shutdown(SECOND).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_success_forgets_the_errors_before() -> Result<()> {
    let world = World::attached();
    let smache = stale(&world).await?;
    let worker = smache.worker().backoff(Duration::from_millis(10), SECOND).max_attempts(3).start();
    for _ in 0..3 {
        let runs = world.probe.runs();
        world.probe.act(Act::Fail);
        smache.invalidate(greeting(1)).await?;
        world.probe.ended(runs + 2).await;
        world.probe.act(Act::Succeed);
        until_fresh(&smache, greeting(1)).await;
    }
    assert_eq!(smache.inspect().dead_letters(10).await?, []);
    worker.shutdown(SECOND).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn with_a_manual_clock_a_job_that_backs_off_is_due_when_the_clock_is_moved() -> Result<()> {
    let (world, clock) = World::manual();
    let smache = stale(&world).await?;
    world.probe.act(Act::Fail);
    assert_eq!(smache.run_until_idle().await?, 1);
    assert_eq!(smache.run_until_idle().await?, 0, "it backs off");
    clock.advance(SECOND);
    assert_eq!(smache.run_until_idle().await?, 1);
    clock.advance(SECOND / 2);
    assert_eq!(smache.run_until_idle().await?, 0, "twice as long");
    world.probe.act(Act::Succeed);
    clock.advance(2 * SECOND);
    assert_eq!(smache.run_until_idle().await?, 1);
    assert_eq!(*smache.get(greeting(1)).await?, "Hello, new");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_workers_vanish_becomes_a_dead_letter_before_it_takes_the_next_one() -> Result<()> {
    let (world, clock) = World::manual();
    let smache = stale(&world).await?;
    for _ in 0..3 {
        let reserve = Reserve::new(Lane::Recompute, 10, SECOND);
        assert_eq!(world.queue()?.reserve(reserve).await?.jobs.len(), 1);
        clock.advance(2 * SECOND);
    }
    let worker = smache.worker().max_crashes(3).start();
    until("it becomes a dead letter", async || dead_letter(&smache).await).await?;
    assert_eq!(world.probe.runs(), 1);
    let dead = smache.inspect().dead_letters(10).await?;
    assert!(dead[0].error.contains("`greeting` vanished 3 times"), "{}", dead[0].error);
    smache.changed::<User>(&1).await?;
    until_fresh(&smache, greeting(1)).await;
    worker.shutdown(SECOND).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn dead_jobs_are_listed_with_readable_calls_up_to_a_limit() -> Result<()> {
    let world = World::attached();
    let smache = world.start().await?;
    for id in 0..30 {
        world.put(id, "old").await?;
        smache.get(crate::functions::motto(id, 7)).await?;
    }
    world.probe.act(Act::Fail);
    smache.invalidate_function::<crate::functions::motto>().await?;
    let worker = smache.worker().max_attempts(1).start();
    until("all become dead letters", async || Ok(smache.inspect().stats().await?.jobs.dead_letters == 30)).await?;
    let mut calls: Vec<String> = smache.inspect().dead_letters(100).await?.into_iter().map(|job| job.call).collect();
    calls.sort();
    let mut expected: Vec<String> = (0..30).map(|id| format!("motto@1({id}, 7)")).collect();
    expected.sort();
    assert_eq!(calls, expected);
    for limit in [0, 1, 7, 29, 30] {
        assert_eq!(smache.inspect().dead_letters(limit).await?.len(), limit);
    }
    worker.shutdown(SECOND).await;
    Ok(())
}

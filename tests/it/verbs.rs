//! The verbs of a system, one by one.

use smache::{ErrorKind, Freshness, Result, State, computed};

use crate::{
    functions::{census, greeting, lazy_greeting, square},
    probe::{Act, Probe, Refused, until_stale},
    tasks::held_get,
    world::World,
};

#[tokio::test(start_paused = true)]
async fn peek_and_is_fresh_never_compute() -> Result<()> {
    let world = World::memory();
    let smache = world.with_user("Anna").await?;
    assert!(smache.peek(greeting(1)).await?.is_none());
    assert!(!smache.is_fresh(greeting(1)).await?);
    assert!(smache.peek(greeting(1).fresh()).await?.is_none());
    assert_eq!(smache.inspect().stats().await?.process.runs, 0);

    smache.get(greeting(1)).await?;
    world.put(1, "Annie").await?;
    smache.changed::<crate::world::User>(&1).await?;
    let found = smache.peek(greeting(1).fresh()).await?.expect("stored");
    assert_eq!(found, "Hello, Anna".to_owned(), "in whatever state");
    assert!(matches!(found.freshness(), Freshness::Stale { .. }));
    assert!(!smache.is_fresh(greeting(1)).await?);
    assert_eq!(world.probe.runs(), 1);
    let process = smache.inspect().stats().await?.process;
    assert_eq!((process.runs, process.misses, process.stale_hits), (1, 1, 0), "peeks are not reads");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn get_computes_once_and_then_reads() -> Result<()> {
    let world = World::memory();
    let smache = world.start().await?;
    for _ in 0..10 {
        let value = smache.get(square(12)).await?;
        assert_eq!((*value, value.is_fresh()), (144, true));
    }
    assert_eq!(world.probe.runs(), 1);
    let process = smache.inspect().stats().await?.process;
    assert_eq!((process.runs, process.misses, process.fresh_hits), (1, 1, 9));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn refresh_computes_whatever_is_stored() -> Result<()> {
    let world = World::memory();
    let smache = world.with_user("Anna").await?;
    for run in 1..=3 {
        let hello = smache.refresh(greeting(1)).await?;
        assert_eq!((hello.is_fresh(), world.probe.runs()), (true, run));
    }
    assert_eq!(*smache.get(greeting(1)).await?, "Hello, Anna".to_owned());
    assert_eq!(world.probe.runs(), 3);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn invalidate_makes_one_result_stale_and_a_worker_computes_it() -> Result<()> {
    let world = World::memory();
    let smache = world.start().await?;
    smache.get(square(2)).await?;
    smache.get(square(3)).await?;
    smache.invalidate(square(2)).await?;
    assert!(!smache.is_fresh(square(2)).await?);
    assert!(smache.is_fresh(square(3)).await?);
    assert_eq!(*smache.get(square(2)).await?, 4, "the old value is served");
    assert_eq!(smache.run_until_idle().await?, 1);
    assert!(smache.is_fresh(square(2)).await?);
    assert_eq!(world.probe.log(), ["square 2", "square 3", "square 2"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn invalidating_what_is_not_stored_is_no_mistake() -> Result<()> {
    let world = World::memory();
    let smache = world.start().await?;
    smache.invalidate(square(2)).await?;
    assert_eq!(smache.run_until_idle().await?, 0);
    assert_eq!(smache.inspect().stats().await?.store.entries, 0);
    assert_eq!(*smache.get(square(2)).await?, 4);
    assert!(smache.is_fresh(square(2)).await?);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_during_the_run_is_not_lost() -> Result<()> {
    let world = World::memory();
    let smache = world.start().await?;
    let reader = held_get(&world.probe, &smache, square(2)).await;
    smache.invalidate(square(2)).await?;
    world.probe.open();
    let value = reader.await.expect("it does not panic")?;
    assert!(!value.is_fresh());
    assert!(!smache.is_fresh(square(2)).await?);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn invalidate_function_reaches_all_its_results_and_no_others() -> Result<()> {
    let world = World::memory();
    let smache = world.with_user("Anna").await?;
    for n in 0..5 {
        smache.get(square(n)).await?;
    }
    smache.get(greeting(1)).await?;
    smache.invalidate_function::<square>().await?;
    for n in 0..5 {
        assert!(!smache.is_fresh(square(n)).await?);
    }
    assert!(smache.is_fresh(greeting(1)).await?);
    assert_eq!(smache.run_until_idle().await?, 5);
    assert_eq!(smache.inspect().stats().await?.store.stale, 0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn invalidate_all_keeps_the_values_and_gives_every_result_a_worker() -> Result<()> {
    let world = World::memory();
    let smache = world.with_user("Anna").await?;
    smache.get(square(2)).await?;
    smache.get(greeting(1)).await?;
    smache.get(lazy_greeting(1)).await?;
    let before = smache.invalidate_all().await?;
    for fresh in [smache.is_fresh(square(2)).await?, smache.is_fresh(greeting(1)).await?] {
        assert!(!fresh);
    }
    assert_eq!(*smache.get(square(2)).await?, 4);
    assert_eq!(smache.run_until_idle().await?, 2, "all but what is left to its readers");
    assert!(smache.is_fresh(square(2)).await? && smache.is_fresh(greeting(1)).await?);
    assert!(!smache.is_fresh(lazy_greeting(1)).await?);
    assert_ne!(smache.invalidate_all().await?, before, "a new epoch each time");
    Ok(())
}

#[computed]
async fn picky(n: i64, probe: State<Probe>) -> Result<i64, Refused> {
    probe.pass(format!("picky {n}")).await?;
    if n < 0 { Err(Refused(n.to_string())) } else { Ok(n) }
}

#[tokio::test(start_paused = true)]
async fn get_many_keeps_the_order_and_answers_each_call_by_itself() -> Result<()> {
    #[computed]
    async fn halved(n: f64) -> f64 {
        n / 2.0
    }
    let world = World::memory();
    let smache = world.builder().register::<picky>().register::<halved>().build().await?;
    let numbers = [5, -1, 3, 5, -2, 0];
    let answers = smache.get_many(numbers.map(picky)).await;
    assert_eq!(answers.len(), numbers.len());
    for (n, answer) in numbers.into_iter().zip(answers) {
        match answer {
            Ok(value) => assert_eq!((n >= 0, *value), (true, n)),
            Err(error) => assert_eq!(error.function_error::<Refused>(), Some(&Refused(n.to_string()))),
        }
    }
    assert_eq!(world.probe.runs(), 5, "equal calls run once: {:?}", world.probe.log());

    let answers = smache.get_many([2.0, f64::NAN, 4.0].map(halved)).await;
    assert_eq!(answers[0].as_deref().ok(), Some(&1.0));
    assert_eq!(answers[1].as_ref().expect_err("not a number").kind(), ErrorKind::Argument);
    assert_eq!(answers[2].as_deref().ok(), Some(&2.0));
    let again = smache.get_many([f64::NAN, 4.0, 2.0].map(halved)).await;
    assert_eq!(again[1].as_deref().ok(), Some(&2.0), "a bad call does not shift the others");
    assert_eq!(again[2].as_deref().ok(), Some(&1.0));
    assert!(smache.get_many(Vec::<smache::Call<picky>>::new()).await.is_empty());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn get_many_looks_once_for_all_that_is_stored() -> Result<()> {
    let (world, faults) = World::faulty_attached();
    let smache = world.builder().maintenance(false).build().await?;
    let calls = || (0..100).map(square);
    for answer in smache.get_many(calls()).await {
        answer?;
    }
    assert_eq!(world.probe.runs(), 100);
    let before = faults.steps();
    let values: Result<Vec<i64>> =
        smache.get_many(calls()).await.into_iter().map(|answer| answer.map(|v| *v)).collect();
    assert_eq!(values?, (0..100).map(|n| n * n).collect::<Vec<_>>());
    assert_eq!(faults.steps() - before, 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_hit_is_one_step_of_the_store_also_a_stale_one() -> Result<()> {
    let (world, faults) = World::faulty_attached();
    world.put(1, "Anna").await?;
    let smache = world.builder().maintenance(false).build().await?;
    let before = faults.steps();
    smache.get(greeting(1)).await?;
    assert_eq!(faults.steps() - before, 3, "a miss is a look, begin and commit");
    let before = faults.steps();
    smache.get(greeting(1)).await?;
    assert_eq!(faults.steps() - before, 1, "a fresh hit");
    smache.changed::<crate::world::User>(&1).await?;
    let before = faults.steps();
    smache.get(greeting(1)).await?;
    assert_eq!(faults.steps() - before, 1, "a stale hit");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn inspect_tells_everything_of_an_entry() -> Result<()> {
    let world = World::memory();
    let smache = world.with_user("Anna").await?;
    let key = smache.inspect().entry_id(&greeting(1))?;
    assert!(smache.inspect().record(&key).await?.is_none());
    smache.get(greeting(1)).await?;
    let record = smache.inspect().record(&key).await?.expect("stored");
    assert_eq!(record.used.len(), 2, "the function and the user: {:?}", record.used);
    assert_eq!((record.causes.len(), record.failures, record.conflicts, record.lazy), (0, 0, 0, false));
    assert_eq!(record.entry.expires, None);

    world.put(1, "Annie").await?;
    until_stale(&smache, greeting(1)).await?;
    let record = smache.inspect().record(&key).await?.expect("stored");
    assert!(record.causes.len() == 1 && record.causes[0].ends_with(" users 1 updated"), "{:?}", record.causes);
    assert!(record.entry.since.is_some());

    world.probe.act(Act::Fail);
    smache.run_until_idle().await?;
    let record = smache.inspect().record(&key).await?.expect("stored");
    assert_eq!(record.failures, 1);
    let failure = record.last_failure.expect("it failed");
    assert!(failure.message.contains("no greeting for greeting 1"), "{}", failure.message);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn stats_count_what_there_is() -> Result<()> {
    let world = World::memory();
    let smache = world.with_user("Anna").await?;
    for n in 0..3 {
        smache.get(square(n)).await?;
    }
    smache.get(census()).await?;
    smache.invalidate(square(0)).await?;
    smache.invalidate(square(1)).await?;
    let stats = smache.inspect().stats().await?;
    assert_eq!((stats.store.entries, stats.store.stale, stats.store.running), (4, 2, 0));
    assert_eq!(
        (stats.jobs.recompute, stats.jobs.propagation, stats.jobs.running, stats.jobs.dead_letters),
        (2, 0, 0, 0)
    );
    smache.run_until_idle().await?;
    let stats = smache.inspect().stats().await?;
    assert_eq!((stats.store.entries, stats.store.stale, stats.jobs.recompute), (4, 0, 0));
    Ok(())
}

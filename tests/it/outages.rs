//! A store that fails, hangs, or loses its answers.

use std::time::Duration;

use smache::{Error, ErrorKind, Result, Smache, StoreFailure};
use tokio::time::Instant;

use crate::{
    faulty::{Fault, Faults},
    functions::{greeting, square},
    leases::letter,
    probe::{Act, until, work_until_fresh},
    tasks::{held_get, spawn_gets},
    waits::until_fresh,
    world::{User, World},
};

const BOUND: Duration = Duration::from_millis(200);

async fn world() -> Result<(World, Faults)> {
    let (world, faults) = World::faulty_attached();
    world.put(1, "Anna").await?;
    Ok((world, faults))
}

/// A system with a greeting, which waits no longer than [`BOUND`] for a step of the store.
async fn bounded() -> Result<(World, Faults, Smache)> {
    let (world, faults) = world().await?;
    let smache = world.builder().store_timeout(BOUND).build().await?;
    smache.get(greeting(1)).await?;
    Ok((world, faults, smache))
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_down_readers_compute_directly() -> Result<()> {
    let (world, faults, smache) = bounded().await?;
    for fault in [Fault::Unavailable, Fault::Hang] {
        faults.all(fault);
        let value = smache.get(greeting(1)).await?;
        assert_eq!((value.as_str(), value.freshness().is_unconfirmed()), ("Hello, Anna", true), "{fault:?}");
        assert_eq!(value.stale_for(), None);
        faults.heal();
    }
    assert_eq!(world.probe.runs(), 3);
    assert_eq!(smache.inspect().stats().await?.process.bypasses, 2);
    assert!(smache.get(greeting(1)).await?.is_fresh(), "back to the stored value");
    assert_eq!(world.probe.runs(), 3);
    Ok(())
}

/// It may have very many dependants: it gets more time than other steps when it is handed over again.
#[tokio::test(start_paused = true)]
async fn a_change_that_takes_longer_than_other_steps_is_acknowledged() -> Result<()> {
    let (_world, faults, smache) = bounded().await?;
    faults.times("invalidate", Fault::Late(BOUND * 20), 3);
    let began = Instant::now();
    smache.invalidate(greeting(1)).await?;
    assert!(began.elapsed() < BOUND * 30, "twice in vain and once to the end: {:?}", began.elapsed());
    assert!(!smache.is_fresh(greeting(1)).await?);
    faults.times("invalidate", Fault::Hang, 3);
    let error = smache.invalidate(greeting(1)).await.expect_err("it hangs for good");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    Ok(())
}

/// And the feed that hands it over stays the leader meanwhile, or the next one would begin it again, and so on without
/// end.
#[tokio::test(start_paused = true)]
async fn a_feed_stays_the_leader_during_a_change_that_takes_long() -> Result<()> {
    let (world, faults) = World::faulty();
    world.put(1, "Anna").await?;
    let systems = [world.start().await?, world.start().await?];
    let [smache, _] = &systems;
    smache.get(greeting(1)).await?;
    let leaderships = faults.calls("positions");
    faults.times("invalidate", Fault::Late(Duration::from_secs(20)), 2);
    world.put(1, "Annie").await?;
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert!(!smache.is_fresh(greeting(1)).await?, "the feed does not confirm meanwhile");
    until("it is handed over", async || {
        let found = smache.get(greeting(1).fresh()).await;
        Ok(found.is_ok_and(|found| found.is_fresh() && *found == "Hello, Annie"))
    })
    .await?;
    assert_eq!(faults.calls("positions"), leaderships, "no leader began again");
    for smache in systems {
        smache.shutdown().await;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn readers_who_compute_without_the_store_compute_once_together() -> Result<()> {
    let (world, faults) = world().await?;
    let smache = world.start().await?;
    faults.all(Fault::Unavailable);
    world.probe.close();
    let readers = spawn_gets(&smache, &greeting(1), 20);
    world.probe.arrived(1).await;
    tokio::time::sleep(BOUND).await;
    world.probe.open();
    for reader in readers {
        assert_eq!(*reader.await.expect("it does not panic")?, "Hello, Anna");
    }
    assert_eq!(world.probe.runs(), 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_wants_more_than_a_value_gets_the_stores_error() -> Result<()> {
    let (world, faults) = world().await?;
    let smache = world.builder().store_timeout(BOUND).build().await?;
    let token = smache.changed::<User>(&1).await?;
    faults.all(Fault::Unavailable);
    let wants = [greeting(1).fresh(), greeting(1).max_stale(Duration::from_secs(1)), greeting(1).at_least(token)];
    for call in wants {
        let error = smache.get(call).await.expect_err("the store cannot confirm it");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    assert_eq!(world.probe.runs(), 0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn readers_may_get_the_stores_error_within_its_bound() -> Result<()> {
    let (world, faults) = world().await?;
    let smache = world.builder().on_store_failure(StoreFailure::Error).store_timeout(BOUND).build().await?;
    smache.get(greeting(1)).await?;
    for (fault, kind) in [(Fault::Unavailable, ErrorKind::Unavailable), (Fault::Hang, ErrorKind::Timeout)] {
        faults.all(fault);
        let begin = Instant::now();
        let errors: [Error; 5] = [
            smache.get(greeting(1)).await.map(drop).expect_err("get"),
            smache.peek(greeting(1)).await.map(drop).expect_err("peek"),
            smache.refresh(greeting(1)).await.map(drop).expect_err("refresh"),
            smache.get_many([greeting(1)]).await.remove(0).map(drop).expect_err("get_many"),
            smache.inspect().stats().await.map(drop).expect_err("stats"),
        ];
        for error in errors {
            assert_eq!(error.kind(), kind);
            assert!(error.is_transient(), "{error}");
        }
        assert!(begin.elapsed() <= 6 * BOUND + Duration::from_millis(20), "{fault:?}: {:?}", begin.elapsed());
        faults.heal();
    }
    assert_eq!(world.probe.runs(), 1);
    assert!(smache.get(greeting(1)).await?.is_fresh());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_between_the_look_and_the_run_is_passed_by() -> Result<()> {
    let (world, faults) = world().await?;
    let smache = world.builder().store_timeout(BOUND).build().await?;
    for (step, fault) in [("begin", Fault::Unavailable), ("begin", Fault::Hang), ("begin", Fault::Ambiguous)] {
        faults.times(step, fault, 1);
        let value = smache.get(greeting(1)).await?;
        assert!(value.freshness().is_unconfirmed(), "{step} {fault:?}");
        until("the run is given back", async || Ok(smache.inspect().stats().await?.store.running == 0)).await?;
    }
    assert!(smache.get(greeting(1)).await?.is_fresh());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_functions_own_error_is_not_taken_for_the_stores() -> Result<()> {
    let (world, faults) = world().await?;
    let smache = world.start().await?;
    faults.all(Fault::Unavailable);
    world.probe.act(Act::Fail);
    let error = smache.get(greeting(1)).await.expect_err("it fails");
    assert_eq!(error.kind(), ErrorKind::Function);
    world.probe.act(Act::Panic);
    assert_eq!(smache.get(greeting(1)).await.expect_err("it panics").kind(), ErrorKind::Panicked);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_was_lost_is_recognised() -> Result<()> {
    let (world, faults) = world().await?;
    let smache = world.start().await?;
    faults.times("commit", Fault::Ambiguous, 1);
    assert!(smache.get(greeting(1)).await?.is_fresh(), "it was stored, and the second try finds that out");
    assert_eq!(faults.calls("commit"), 2);
    assert!(smache.get(greeting(1)).await?.is_fresh());
    let stats = smache.inspect().stats().await?;
    assert_eq!((world.probe.runs(), stats.process.lost, stats.store.running), (1, 0, 0));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_was_lost_is_not_taken_for_fresh_if_it_was_overtaken() -> Result<()> {
    let (world, faults) = world().await?;
    let smache = world.start().await?;
    let reader = held_get(&world.probe, &smache, greeting(1)).await;
    smache.changed::<User>(&1).await?;
    faults.times("commit", Fault::Ambiguous, 1);
    world.probe.open();
    assert!(!reader.await.expect("it does not panic")?.is_fresh());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_fails_once_is_tried_again() -> Result<()> {
    let (world, faults) = world().await?;
    let smache = world.builder().store_timeout(BOUND).build().await?;
    for fault in [Fault::Unavailable, Fault::Hang] {
        faults.times("commit", fault, 1);
        assert!(smache.refresh(greeting(1)).await?.is_fresh(), "{fault:?}");
    }
    assert_eq!(world.probe.runs(), 2);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_result_that_cannot_be_stored_is_the_readers_all_the_same() -> Result<()> {
    let (world, faults) = world().await?;
    let smache = world.start().await?;
    faults.on("commit", Fault::Unavailable);
    let value = smache.get(greeting(1)).await?;
    assert_eq!((value.as_str(), value.freshness().is_unconfirmed()), ("Hello, Anna", true));
    assert_eq!(world.probe.runs(), 1);
    until("the run is given back", async || Ok(smache.inspect().stats().await?.store.running == 0)).await?;
    faults.heal();
    let begin = Instant::now();
    assert!(smache.get(greeting(1)).await?.is_fresh());
    assert!(begin.elapsed() < Duration::from_secs(1), "the lease was given back: {:?}", begin.elapsed());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_reported_change_is_tried_again_and_then_not_acknowledged() -> Result<()> {
    let (_world, faults, smache) = bounded().await?;
    for fault in [Fault::Unavailable, Fault::Hang, Fault::Ambiguous] {
        faults.times("invalidate", fault, 2);
        smache.changed::<User>(&1).await?;
        assert!(!smache.is_fresh(greeting(1)).await?, "{fault:?}");
        smache.refresh(greeting(1)).await?;
    }
    faults.on("invalidate", Fault::Unavailable);
    let error = smache.changed::<User>(&1).await.expect_err("the store does not take it");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_transient() && error.to_string().contains("report it again"), "{error}");
    assert!(smache.is_fresh(greeting(1)).await?, "it was not acknowledged");
    faults.on("invalidate", Fault::Hang);
    let begin = Instant::now();
    let error = smache.invalidate(square(1)).await.expect_err("the store does not answer");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(begin.elapsed() < (1 + 6 + 36) * BOUND + Duration::from_millis(500), "{:?}", begin.elapsed());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_system_does_not_start_without_its_store() -> Result<()> {
    for (fault, kind) in [(Fault::Unavailable, ErrorKind::Unavailable), (Fault::Hang, ErrorKind::Timeout)] {
        let (world, faults) = world().await?;
        faults.all(fault);
        let error = world.builder().store_timeout(BOUND).build().await.expect_err("there is no store");
        assert_eq!(error.kind(), kind);
        faults.heal();
        assert_eq!(*world.start().await?.get(square(2)).await?, 4);
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_change_behind_a_feed_is_delivered_when_the_store_is_back() -> Result<()> {
    let (world, faults) = World::faulty();
    let smache = world.with_greeting().await?;
    faults.all(Fault::Unavailable);
    world.put(1, "Annie").await?;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(*smache.get(greeting(1)).await?, "Hello, Annie", "computed directly");
    faults.heal();
    assert!(!smache.is_fresh(greeting(1)).await?, "no feed confirms what was stored");
    assert_eq!(*work_until_fresh(&smache, greeting(1)).await?, "Hello, Annie");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn running_everything_that_is_due_answers_the_backends_error() -> Result<()> {
    let (world, faults) = world().await?;
    let smache = world.start().await?;
    for step in ["maintain", "reserve"] {
        faults.times(step, Fault::Unavailable, 1);
        assert_eq!(smache.run_until_idle().await.expect_err(step).kind(), ErrorKind::Unavailable);
    }
    smache.get(greeting(1)).await?;
    smache.changed::<User>(&1).await?;
    faults.times("begin", Fault::Unavailable, 1);
    assert_eq!(smache.run_until_idle().await?, 1, "a job that failed is handed back");
    assert_eq!(smache.inspect().stats().await?.jobs.recompute, 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn jobs_whose_end_is_not_heard_at_first_are_not_run_again() -> Result<()> {
    let (world, faults, smache) = bounded().await?;
    let worker = smache.worker().start();
    for fault in [Fault::Unavailable, Fault::Hang, Fault::Ambiguous] {
        let runs = world.probe.runs();
        let settled = faults.calls("settle");
        faults.times("settle", fault, 2);
        smache.changed::<User>(&1).await?;
        until("it is settled", async || {
            let jobs = smache.inspect().stats().await?.jobs;
            Ok(faults.calls("settle") >= settled + 3 && jobs.recompute + jobs.running == 0)
        })
        .await?;
        assert_eq!(world.probe.runs(), runs + 1, "{fault:?}");
    }
    worker.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn jobs_whose_reservation_is_not_heard_are_asked_for_again_under_its_token() -> Result<()> {
    let (world, faults, smache) = bounded().await?;
    let lease = Duration::from_secs(600);
    let worker = smache.worker().job_lease(lease).max_crashes(1).start();
    for fault in [Fault::Unavailable, Fault::Hang, Fault::Ambiguous] {
        let started = Instant::now();
        let runs = world.probe.runs();
        faults.times("reserve", fault, 4);
        smache.changed::<User>(&1).await?;
        until_fresh(&smache, greeting(1)).await;
        assert!(started.elapsed() < lease / 4, "{fault:?}: no reader waits for the lease");
        assert_eq!(world.probe.runs(), runs + 1, "{fault:?}");
        assert_eq!(smache.inspect().dead_letters(10).await?, [], "{fault:?}");
    }
    worker.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_worker_outlives_an_outage_and_buries_nothing_for_it() -> Result<()> {
    outage_of_a_worker(Fault::Unavailable).await
}

#[tokio::test(start_paused = true)]
async fn a_worker_outlives_a_hanging_backend_and_buries_nothing_for_it() -> Result<()> {
    outage_of_a_worker(Fault::Hang).await
}

/// The worker does not know which jobs it got: that is no crash of these jobs.
#[tokio::test(start_paused = true)]
async fn a_worker_outlives_lost_answers_and_buries_nothing_for_them() -> Result<()> {
    outage_of_a_worker(Fault::Ambiguous).await
}

async fn outage_of_a_worker(fault: Fault) -> Result<()> {
    let (_world, faults, smache) = bounded().await?;
    let worker = smache.worker().max_attempts(1).job_lease(Duration::from_secs(2)).start();
    for round in 0..3 {
        smache.changed::<User>(&1).await?;
        faults.all(fault);
        tokio::time::sleep(Duration::from_secs(10)).await;
        faults.heal();
        let worked = until("it goes on", async || {
            assert_eq!(smache.inspect().dead_letters(10).await?, [], "round {round}");
            smache.is_fresh(greeting(1)).await
        });
        worked.await?;
    }
    worker.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_down_nested_calls_compute_directly_too() -> Result<()> {
    let (world, faults) = world().await?;
    let smache = world.builder().store_timeout(BOUND).register::<letter>().build().await?;
    for fault in [Fault::Unavailable, Fault::Hang] {
        faults.all(fault);
        let value = smache.get(letter(1)).await?;
        assert_eq!((value.as_str(), value.freshness().is_unconfirmed()), ("Hello, Anna. Yours, us", true), "{fault:?}");
        faults.heal();
    }
    Ok(())
}

/// An unconfirmed result is stored too.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_while_a_feed_is_down_is_no_conflict() -> Result<()> {
    let (world, faults) = World::faulty();
    let smache = world.with_user("Anna").await?;
    smache.shutdown().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    faults.times("commit", Fault::Ambiguous, 1);
    smache.get(greeting(1)).await?;
    assert_eq!(smache.inspect().stats().await?.process.conflicts, 0);
    let stored = smache.peek(greeting(1)).await?.expect("it is stored");
    assert!(stored.freshness().is_unconfirmed());
    Ok(())
}

//! Programs of several versions on one store: which are alive, and the entries that no program knows any more.

use std::{sync::Arc, time::Duration};

use smache::{Builder, Call, Computed, Cx, ErrorKind, Result, Smache, computed, memory::Memory, tag};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    faulty::{self, Fault},
    world::memory,
};

/// How many results the version that is rolled back leaves behind.
const MANY: u64 = 300;

#[computed]
async fn kept(n: u64, cx: &Cx) -> Result<u64> {
    cx.depends_on(tag("kept"))?;
    Ok(n)
}

#[computed(version = 2)]
async fn report(n: u64, cx: &Cx) -> Result<u64> {
    cx.depends_on(tag("report"))?;
    Ok(n)
}

/// A function of the old program that has used a result of the new one's.
#[computed]
async fn page(n: u64, cx: &Cx) -> Result<u64> {
    Ok(*cx.get(report(n)).await? + 1)
}

fn program(backend: &Memory, name: &str) -> Builder {
    Smache::builder("shop").backend(backend.clone()).program(name)
}

async fn old(memory: &Memory) -> Result<Smache> {
    program(memory, "old").register::<kept>().build().await
}

async fn new(memory: &Memory) -> Result<Smache> {
    program(memory, "new").register::<kept>().register::<report>().build().await
}

/// The new version was deployed, has computed, and was rolled back; then the data of its results changed.
async fn rolled_back(memory: &Memory) -> Result<Smache> {
    let deployed = new(memory).await?;
    for n in 0..MANY {
        deployed.get(report(n)).await?;
    }
    deployed.shutdown().await;
    let old = old(memory).await?;
    old.get(kept(1)).await?;
    Ok(old)
}

async fn fresh<F: Computed>(smache: &Smache, call: impl Fn() -> Call<F>) -> Result<()> {
    let found = async {
        while !smache.is_fresh(call()).await? {
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    };
    timeout(Duration::from_secs(120), found).await.expect("a worker makes it fresh")
}

#[tokio::test(start_paused = true)]
async fn a_roll_back_slows_no_worker_and_its_jobs_come_back() -> Result<()> {
    let memory = memory();
    let old = rolled_back(&memory).await?;
    let worker = old.worker().start();
    old.changed_tag("report").await?;
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    for _ in 0..40 {
        old.changed_tag("kept").await?;
        fresh(&old, || kept(1)).await?;
    }
    let slow = began.elapsed();
    assert!(slow < Duration::from_secs(2), "each job waits for programs that have ended: {slow:?}");

    sleep(Duration::from_secs(90)).await;
    let stats = old.inspect().stats().await?;
    assert_eq!((stats.process.parked_jobs, stats.jobs.dead_letters), (MANY, MANY), "they are out of the way");
    assert_eq!(old.inspect().dead_letters(1_000).await?.len(), 0, "none of them has failed");
    let parked = old.inspect().parked_jobs(1_000).await?;
    assert_eq!(parked.len() as u64, MANY);
    assert!(parked.iter().any(|job| job.call == "report@2(7)"), "{:?}", parked[0]);
    let doctor = old.inspect().doctor().await.to_string();
    assert!(doctor.contains("300 jobs are parked") && doctor.contains("`report@2`"), "{doctor}");

    let unknown = stats.process.unknown_jobs;
    sleep(Duration::from_secs(600)).await;
    assert_eq!(old.inspect().stats().await?.process.unknown_jobs, unknown, "no worker meets them again");

    let again = new(&memory).await?;
    let began = Instant::now();
    let its_worker = again.worker().start();
    for n in 0..MANY {
        fresh(&again, || report(n)).await?;
    }
    // The other worker releases the jobs that it gets first, for five seconds each.
    assert!(began.elapsed() < Duration::from_secs(12), "at once: {:?}", began.elapsed());
    assert_eq!(again.inspect().stats().await?.jobs.dead_letters, 0);
    its_worker.shutdown(Duration::ZERO).await;
    worker.shutdown(Duration::ZERO).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_parked_job_returns_to_a_program_without_a_worker_of_its_own() -> Result<()> {
    let memory = memory();
    let old = rolled_back(&memory).await?;
    let worker = old.worker().start();
    old.changed_tag("report").await?;
    sleep(Duration::from_secs(120)).await;
    assert_eq!(old.inspect().stats().await?.jobs.dead_letters, MANY);
    let again = new(&memory).await?;
    again.run_until_idle().await?;
    assert!(again.is_fresh(report(3)).await?);
    worker.shutdown(Duration::ZERO).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn jobs_of_a_living_program_are_left_to_it() -> Result<()> {
    let memory = memory();
    let old = old(&memory).await?;
    let deployed = new(&memory).await?;
    let workers = [old.worker().start(), deployed.worker().start()];
    deployed.get(report(1)).await?;
    for _ in 0..50 {
        old.changed_tag("report").await?;
        fresh(&deployed, || report(1)).await?;
        sleep(Duration::from_secs(3)).await;
    }
    assert_eq!(old.inspect().stats().await?.process.parked_jobs, 0);
    for worker in workers {
        worker.shutdown(Duration::ZERO).await;
    }
    Ok(())
}

/// A register that cannot be read, or has lost everything, says of no program that it has ended.
#[tokio::test(start_paused = true)]
async fn nothing_is_parked_while_the_register_is_away() -> Result<()> {
    let (backend, faults) = faulty::memory();
    let backend = Arc::new(backend);
    let build = |name: &str| Smache::builder("shop").backend(backend.clone()).program(name);
    let old = build("old").register::<kept>().build().await?;
    let deployed = build("new").register::<report>().build().await?;
    deployed.get(report(1)).await?;
    faults.on("programs", Fault::Unavailable);
    let worker = old.worker().start();
    old.changed_tag("report").await?;
    sleep(Duration::from_secs(300)).await;
    let stats = old.inspect().stats().await?;
    assert!(stats.process.unknown_jobs > 10, "it meets the job again and again");
    assert_eq!((stats.process.parked_jobs, stats.jobs.dead_letters), (0, 0));
    worker.shutdown(Duration::ZERO).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn programs_are_listed_with_what_they_know() -> Result<()> {
    let memory = memory();
    let old = old(&memory).await?;
    let deployed = new(&memory).await?;
    let worker = deployed.worker().start();
    sleep(Duration::from_secs(5)).await;
    let find = async |name: &str| {
        Ok::<_, smache::Error>(old.inspect().programs().await?.into_iter().find(|one| one.name == name))
    };
    let listed = find("new").await?.expect("registered");
    let mut functions = listed.functions.clone();
    functions.sort();
    assert_eq!((listed.alive, listed.works, functions), (true, true, vec!["kept@1".into(), "report@2".into()]));
    assert!(find("old").await?.is_some_and(|old| old.alive && !old.works));
    sleep(Duration::from_secs(600)).await;
    assert!(find("new").await?.is_some_and(|new| new.alive), "it says so again and again");
    worker.shutdown(Duration::ZERO).await;
    deployed.shutdown().await;
    assert!(find("new").await?.is_some_and(|new| !new.alive), "it has ended, and no other program knows its functions");
    let again = new(&memory).await?;
    sleep(Duration::from_secs(120)).await;
    let left = old.inspect().programs().await?.iter().filter(|one| one.name == "new").count();
    assert_eq!(left, 1, "what a living program says is not kept of one that has ended");
    drop(again);
    sleep(Duration::from_secs(60)).await;
    assert!(find("new").await?.is_some_and(|new| !new.alive), "it was killed");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn entries_of_functions_that_no_program_has_are_collected() -> Result<()> {
    let memory = memory();
    let both = program(&memory, "both").register::<page>().register::<report>().build().await?;
    both.get(page(1)).await?;
    both.shutdown().await;
    let old = rolled_back(&memory).await?;
    old.shutdown().await;
    let time = Duration::from_secs(1_000);
    let old = program(&memory, "old").register::<kept>().register::<page>().forget_after(time).build().await?;
    assert_eq!(old.inspect().stats().await?.store.entries, MANY + 2);
    sleep(time / 2).await;
    assert_eq!(old.inspect().stats().await?.store.entries, MANY + 2, "they are kept for a roll-back of the roll-back");
    sleep(time).await;
    assert_eq!(old.inspect().stats().await?.store.entries, 2, "those of the other functions");
    assert!(old.is_fresh(kept(1)).await?);
    assert_eq!(old.peek(page(1)).await?.map(|page| *page), Some(2), "what was made of them stays");
    old.changed_tag("report").await?;
    assert!(!old.is_fresh(page(1)).await?, "with all that they had read");
    assert!(old.inspect().programs().await?.iter().all(|program| program.alive), "and the register forgets them");
    let again = new(&memory).await?;
    assert!(again.peek(report(1)).await?.is_none());
    assert_eq!(*again.get(report(1)).await?, 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_function_is_forgotten_by_its_name() -> Result<()> {
    let memory = memory();
    let old = old(&memory).await?;
    let deployed = new(&memory).await?;
    for n in 0..MANY {
        deployed.get(report(n)).await?;
    }
    let error = old.forget("report@2").await.expect_err("a living program has it");
    assert_eq!(error.kind(), ErrorKind::Argument);
    assert!(error.to_string().contains("`new`"), "{error}");
    let error = deployed.forget("report@2").await.expect_err("it has it itself");
    assert!(error.to_string().contains("`new`"), "{error}");
    deployed.shutdown().await;
    old.changed_tag("report").await?;
    assert_eq!(old.inspect().stats().await?.jobs.recompute, MANY);
    assert_eq!(old.forget("report@1").await?, 0, "another version");
    assert_eq!(old.forget("report@2").await?, MANY);
    let stats = old.inspect().stats().await?;
    assert_eq!((stats.store.entries, stats.jobs.recompute, stats.jobs.dead_letters), (0, 0, 0));
    assert_eq!(old.forget("report@2").await?, 0);
    for wrong in ["report", "report@", "@2", "report@two"] {
        assert_eq!(old.forget(wrong).await.expect_err("no version").kind(), ErrorKind::Argument, "{wrong}");
    }
    Ok(())
}

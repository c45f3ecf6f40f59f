//! Nested calls: staleness through them, early cut-off, single flight, cycles. Asserted by which functions ran.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use smache::{
    Cx, Entity, ErrorKind, Failure, Result, Smache, State,
    backend::ManualClock,
    computed,
    memory::{Memory, MemorySource},
    tag,
};

use crate::{probe::until, tasks::spawn_refresh};

#[derive(Clone, Debug, Serialize, Deserialize, Entity)]
#[entity(source = "grades")]
struct Grade {
    #[entity(id)]
    id: u64,
    points: u64,
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn ran(&self, what: impl Into<String>) {
        self.0.lock().expect("no panic under it").push(what.into());
    }

    /// The runs since the last look, in alphabetical order: siblings run in any order.
    fn take(&self) -> String {
        let mut ran = std::mem::take(&mut *self.0.lock().expect("no panic under it"));
        ran.sort();
        ran.join(" ")
    }
}

#[computed]
async fn points(grade: Entity<Grade>, log: State<Log>) -> u64 {
    log.ran(format!("points({})", grade.id));
    grade.points
}

#[computed]
async fn passed(cx: &Cx, log: State<Log>, grade: u64) -> Result<bool, Failure> {
    log.ran(format!("passed({grade})"));
    Ok(*cx.get(points(grade)).await? >= 50)
}

#[computed]
async fn certificate(cx: &Cx, log: State<Log>, grade: u64) -> Result<String, Failure> {
    log.ran(format!("certificate({grade})"));
    Ok(if *cx.get(passed(grade)).await? { "passed".into() } else { "failed".into() })
}

/// A diamond: both ways lead to the same points.
#[computed]
async fn summary(cx: &Cx, log: State<Log>, grade: u64) -> Result<String, Failure> {
    log.ran(format!("summary({grade})"));
    let (points, certificate) = tokio::join!(cx.get(points(grade)), cx.get(certificate(grade)));
    Ok(format!("{} with {}", *certificate?, *points?))
}

#[computed]
async fn chicken(cx: &Cx) -> Result<u64, Failure> {
    Ok(*cx.get(egg()).await?)
}

#[computed]
async fn egg(cx: &Cx) -> Result<u64, Failure> {
    Ok(*cx.get(chicken()).await?)
}

#[computed]
async fn down(cx: &Cx, n: u64) -> Result<u64, Failure> {
    if n == 0 { Ok(0) } else { Ok(*cx.get(down(n - 1)).await? + 1) }
}

#[computed(ttl = "10s")]
async fn short(grade: Entity<Grade>) -> u64 {
    grade.points
}

#[computed]
async fn long(cx: &Cx, grade: u64) -> Result<u64, Failure> {
    Ok(*cx.get(short(grade)).await?)
}

#[computed]
async fn priced(cx: &Cx, log: State<Log>) -> Result<u64> {
    log.ran("priced");
    cx.depends_on(tag("pricing"))?;
    Ok(7)
}

struct School {
    smache: Smache,
    grades: MemorySource<Grade>,
    log: Log,
    clock: ManualClock,
}

async fn school() -> Result<School> {
    let grades = MemorySource::<Grade>::new();
    let log = Log::default();
    let clock = ManualClock::default();
    grades.insert(Grade { id: 1, points: 60 })?;
    let smache = Smache::builder("school")
        .backend(Memory::builder().clock(Arc::new(clock.clone())).build())
        .source(grades.clone())
        .state(log.clone())
        .register::<points>()
        .register::<passed>()
        .register::<certificate>()
        .register::<summary>()
        .register::<chicken>()
        .register::<egg>()
        .register::<down>()
        .register::<short>()
        .register::<long>()
        .register::<priced>()
        .build()
        .await?;
    Ok(School { smache, grades, log, clock })
}

#[tokio::test]
async fn parents_go_stale_with_their_childrens_data_and_are_recomputed() -> Result<()> {
    let School { smache, grades, log, .. } = school().await?;
    assert_eq!(*smache.get(certificate(1)).await?, "passed");
    assert_eq!(log.take(), "certificate(1) passed(1) points(1)");
    grades.insert(Grade { id: 1, points: 40 })?;
    smache.run_until_idle().await?;
    assert_eq!(log.take(), "certificate(1) passed(1) points(1)");
    let now = smache.peek(certificate(1)).await?.expect("stored");
    assert!(now.is_fresh());
    assert_eq!(*now, "failed");
    Ok(())
}

#[tokio::test]
async fn everything_above_a_change_is_stale_at_once() -> Result<()> {
    let School { smache, .. } = school().await?;
    smache.get(summary(1)).await?;
    smache.changed::<Grade>(&1).await?;
    assert!(!smache.is_fresh(points(1u64)).await?);
    assert!(!smache.is_fresh(passed(1)).await?);
    assert!(!smache.is_fresh(certificate(1)).await?);
    assert!(!smache.is_fresh(summary(1)).await?);
    Ok(())
}

#[tokio::test]
async fn an_equal_value_of_a_child_stops_the_cascade() -> Result<()> {
    let School { smache, grades, log, .. } = school().await?;
    smache.get(certificate(1)).await?;
    log.take();
    grades.insert(Grade { id: 1, points: 70 })?;
    smache.run_until_idle().await?;
    assert_eq!(log.take(), "passed(1) points(1)", "it is still a pass, so the certificate is not written again");
    assert!(smache.is_fresh(certificate(1)).await?);
    assert_eq!(smache.inspect().stats().await?.process.cut_offs, 1);
    // The edges are those of the present leaves: the next change arrives too.
    grades.insert(Grade { id: 1, points: 10 })?;
    smache.run_until_idle().await?;
    assert_eq!(log.take(), "certificate(1) passed(1) points(1)");
    assert_eq!(*smache.get(certificate(1)).await?, "failed");
    Ok(())
}

#[tokio::test]
async fn a_fresh_reader_revalidates_instead_of_running() -> Result<()> {
    let School { smache, log, .. } = school().await?;
    smache.get(certificate(1)).await?;
    log.take();
    smache.changed::<Grade>(&1).await?;
    assert!(smache.get(certificate(1).fresh()).await?.is_fresh());
    assert_eq!(log.take(), "points(1)", "only what read the grade itself");
    Ok(())
}

#[tokio::test]
async fn refresh_runs_the_function_whatever_its_children_say() -> Result<()> {
    let School { smache, log, .. } = school().await?;
    smache.get(certificate(1)).await?;
    log.take();
    smache.refresh(certificate(1)).await?;
    assert_eq!(log.take(), "certificate(1)");
    Ok(())
}

#[tokio::test]
async fn a_diamond_computes_its_shared_child_once() -> Result<()> {
    let School { smache, log, .. } = school().await?;
    assert_eq!(*smache.get(summary(1)).await?, "passed with 60");
    assert_eq!(log.take(), "certificate(1) passed(1) points(1) summary(1)");
    Ok(())
}

#[tokio::test]
async fn a_cycle_is_refused_with_its_path() -> Result<()> {
    let School { smache, .. } = school().await?;
    let error =
        tokio::time::timeout(Duration::from_secs(10), smache.get(chicken())).await.expect("neither waits without end");
    let error = error.expect_err("a cycle");
    assert_eq!(error.kind(), ErrorKind::Cycle);
    assert!(error.to_string().contains("egg → chicken → egg"), "{error}");
    Ok(())
}

#[tokio::test]
async fn nesting_is_bounded() -> Result<()> {
    let School { smache, .. } = school().await?;
    assert_eq!(*smache.get(down(60)).await?, 60);
    let error = smache.get(down(200)).await.expect_err("too deep");
    assert_eq!(error.kind(), ErrorKind::Cycle);
    assert!(error.report().contains("64 deep"), "{}", error.report());
    Ok(())
}

#[tokio::test]
async fn a_parent_ends_no_later_than_its_child() -> Result<()> {
    let School { smache, clock, .. } = school().await?;
    smache.get(long(1)).await?;
    clock.advance(Duration::from_secs(11));
    assert!(smache.peek(long(1)).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_change_while_the_parent_runs_is_not_lost() -> Result<()> {
    let School { smache, grades, .. } = school().await?;
    for points in [40, 60, 45, 65] {
        let reader = spawn_refresh(&smache, certificate(1));
        grades.insert(Grade { id: 1, points })?;
        reader.await.expect("no panic")?;
        smache.run_until_idle().await?;
        let expected = if points >= 50 { "passed" } else { "failed" };
        assert_eq!(*smache.get(certificate(1).fresh()).await?, expected);
    }
    Ok(())
}

#[tokio::test]
async fn a_child_that_fails_fails_its_parent_and_comes_back() -> Result<()> {
    let School { smache, grades, .. } = school().await?;
    let error = smache.get(certificate(2)).await.expect_err("there is no grade 2");
    assert_eq!(error.kind(), ErrorKind::Gone);
    grades.insert(Grade { id: 2, points: 90 })?;
    assert_eq!(*smache.get(certificate(2)).await?, "passed");
    Ok(())
}

#[tokio::test]
async fn a_touched_tag_makes_stale_what_depends_on_it() -> Result<()> {
    let School { smache, log, .. } = school().await?;
    smache.get(priced()).await?;
    log.take();
    smache.changed_tag("other").await?;
    assert!(smache.is_fresh(priced()).await?);
    smache.changed_tag("pricing").await?;
    assert!(!smache.is_fresh(priced()).await?);
    smache.run_until_idle().await?;
    assert_eq!(log.take(), "priced");
    Ok(())
}

/// A leader that died, or a source that cannot be reached: nothing is fresh, and nothing need be run twice for that.
#[tokio::test]
async fn while_a_feed_is_down_nested_calls_work_like_others() -> Result<()> {
    let School { smache, log, clock, .. } = school().await?;
    smache.shutdown().await;
    clock.advance(Duration::from_secs(3));
    assert_eq!(*smache.get(certificate(1)).await?, "passed");
    assert_eq!(log.take(), "certificate(1) passed(1) points(1)");
    assert!(smache.peek(certificate(1)).await?.is_some_and(|stored| stored.freshness().is_unconfirmed()));
    assert!(smache.peek(passed(1)).await?.is_some_and(|stored| stored.freshness().is_unconfirmed()));
    smache.changed::<Grade>(&1).await?;
    let worker = smache.worker().start();
    until("nothing is left", async || {
        let stats = smache.inspect().stats().await?;
        Ok(stats.store.stale + stats.jobs.recompute + stats.jobs.propagation + stats.jobs.running == 0)
    })
    .await?;
    assert_eq!(log.take(), "points(1)", "it came out equal");
    worker.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

//! Nested calls on Redis: the leaves of a child in its parent's record, early cut-off by workers, and cycles through
//! several processes.

use std::time::Duration;

use mongodb::bson::oid::ObjectId;
use serde::{Deserialize, Serialize};
use smache::{Cx, Entity, ErrorKind, Failure, Smache, State, computed, memory::MemorySource};
use tokio::sync::watch;

use crate::{
    waits::{PATIENCE, until, until_fresh},
    world::patient_redis,
};

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "grades")]
struct Grade {
    #[entity(id)]
    id: u64,
    points: u64,
}

#[computed]
async fn passed(grade: Entity<Grade>) -> bool {
    grade.points >= 50
}

#[computed(ttl = "1m")]
async fn certificate(cx: &Cx, grade: u64) -> Result<String, Failure> {
    Ok(if *cx.get(passed(grade)).await? { "passed".into() } else { "failed".into() })
}

/// A gate that opens when two have arrived.
#[derive(Clone)]
struct Meeting(watch::Sender<u32>);

impl Meeting {
    async fn join(&self) {
        self.0.send_modify(|there| *there += 1);
        self.0.subscribe().wait_for(|there| *there >= 2).await.expect("it lasts as long as its state");
    }
}

#[computed(ttl = "1m")]
async fn chicken(cx: &Cx, meeting: State<Meeting>) -> Result<u64, Failure> {
    meeting.join().await;
    Ok(*cx.get(egg()).await?)
}

#[computed(ttl = "1m")]
async fn egg(cx: &Cx, meeting: State<Meeting>) -> Result<u64, Failure> {
    meeting.join().await;
    Ok(*cx.get(chicken()).await?)
}

#[tokio::test]
async fn a_parent_is_revalidated_when_its_child_comes_out_equal_and_run_when_not() {
    let grades = MemorySource::<Grade>::without_feed();
    let put = |points| grades.insert(Grade { id: 1, points }).expect("a number is an id");
    put(60);
    let smache = Smache::builder(format!("nested_{}", ObjectId::new().to_hex()))
        .store_timeout(PATIENCE)
        .read_patience(PATIENCE)
        .backend(patient_redis().await)
        .source(grades.clone())
        .register::<passed>()
        .register::<certificate>()
        .build()
        .await
        .expect("a system");
    assert_eq!(*smache.get(certificate(1)).await.expect("computes"), "passed");
    let worker = smache.worker().start();
    let counts = async || smache.inspect().stats().await.expect("numbers").process;
    let before = counts().await;

    put(70);
    smache.changed::<Grade>(&1).await.expect("acknowledged");
    assert_eq!(*until_fresh(&smache, certificate(1)).await, "passed");
    // The worker counts when it has the store's answer, which a reader may see sooner.
    until("cut-off", async || if counts().await.cut_offs > before.cut_offs { Ok(()) } else { Err("none") }).await;
    let equal = counts().await;
    assert_eq!((equal.runs - before.runs, equal.cut_offs - before.cut_offs), (1, 1), "only the child ran");

    put(10);
    smache.changed::<Grade>(&1).await.expect("acknowledged");
    assert!(
        !smache.is_fresh(certificate(1)).await.expect("a look")
            || *smache.get(certificate(1)).await.expect("a value") == "failed"
    );
    assert_eq!(*until_fresh(&smache, certificate(1)).await, "failed");
    assert_eq!(counts().await.runs - equal.runs, 2, "both ran");
    worker.shutdown(Duration::from_secs(5)).await;
    smache.shutdown().await;
}

#[tokio::test]
async fn a_cycle_through_two_processes_is_refused_long_before_the_deadline() {
    let namespace = format!("nested_{}", ObjectId::new().to_hex());
    let meeting = Meeting(watch::Sender::new(0));
    // A connection each, as two processes have.
    let start = async || {
        Smache::builder(&namespace)
            .store_timeout(PATIENCE)
            .read_patience(PATIENCE)
            .backend(patient_redis().await)
            .state(meeting.clone())
            .register::<chicken>()
            .register::<egg>()
            .wait_timeout(10 * PATIENCE)
            .build()
            .await
            .expect("a system")
    };
    let one = start().await;
    let two = start().await;
    let both = async { tokio::join!(one.get(chicken()), two.get(egg())) };
    let (first, second) = tokio::time::timeout(PATIENCE, both).await.expect("long before the deadline");
    for error in [first.expect_err("a cycle"), second.expect_err("a cycle")] {
        let report = error.report();
        assert_eq!(error.kind(), ErrorKind::Cycle, "{report}");
        assert!(report.contains("chicken → egg → chicken") || report.contains("egg → chicken → egg"), "{report}");
    }
    one.shutdown().await;
    two.shutdown().await;
}

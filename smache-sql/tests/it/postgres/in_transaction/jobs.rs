//! The work after the commit: jobs, and the workers that wake for them.

use std::time::Duration;

use smache_core::{Backend, Lane, Reserve};

use super::{World, is, name_of, recomputed, rename, report, stored};
use crate::support::LONG;

#[tokio::test]
async fn jobs_are_written_with_the_commit_and_wake_the_workers_of_other_processes() {
    let world = World::new().await;
    // Without maintenance nothing else wakes the worker.
    let smache = world.bare().backend(world.backend().await).maintenance(false).build().await.expect("a system");
    assert!(smache.get(name_of(1)).await.expect("a value").is_fresh());
    let queue = world.backend().await.queue(&world.namespace).expect("a queue");
    // The first wait of all ends when the listener has begun to listen.
    queue.wait(LONG).await.expect("wait");
    let worker = tokio::spawn({
        let queue = queue.clone();
        async move { queue.wait(LONG).await }
    });
    let mut tx = world.begin().await;
    rename(&mut tx, 1, "Bea").await;
    let uncommitted = report(&smache, &mut tx, 1).await.expect("a report");
    assert_eq!(queue.counts().await.expect("counts").recompute, 0, "not before the commit");
    tx.commit().await.expect("commit");
    // The program may end here: it has nothing more to do.
    drop(uncommitted);
    tokio::time::timeout(Duration::from_secs(60), worker).await.expect("it is woken").expect("a task").expect("wait");
    let reserve = Reserve::new(Lane::Recompute, 9, LONG);
    assert_eq!(queue.reserve(reserve).await.expect("reserve").jobs.len(), 1);
}

/// A store whose queue is another backend reports the entries, and the program or the reconciler queues them.
#[tokio::test]
async fn queue_of_another_backend_gets_its_jobs_after_the_commit_or_from_the_reconciler() {
    let world = World::new().await;
    let store = world.backend().await;
    let queue = world.backend().await;
    let smache = world.bare().store(store).queue(queue).maintenance(false).build().await.expect("a system");
    let queued = async || smache.inspect().stats().await.expect("numbers").jobs.recompute;
    for id in [1, 2, 3] {
        assert!(smache.get(name_of(id)).await.expect("a value").is_fresh());
    }
    let mut tx = world.begin().await;
    let mut both = None;
    let third = report(&smache, &mut tx, 3).await.expect("a report");
    for id in [1, 2] {
        rename(&mut tx, id, "Bea").await;
        let one = report(&smache, &mut tx, id).await.expect("a report");
        both = Some(match both {
            None => one,
            Some(other) => one.and(other),
        });
    }
    tx.commit().await.expect("commit");
    assert_eq!(queued().await, 0);
    let token = both.expect("two reports").committed().await;
    assert_eq!(queued().await, 2);
    assert_eq!(*smache.get(name_of(2).at_least(token)).await.expect("one's own write"), "Bea");
    drop(third);
    assert_eq!(stored(&smache, 3).await, is("Ann", false), "stale without a job");
    recomputed(&smache, 3, "Ann").await;
    recomputed(&smache, 1, "Bea").await;
}

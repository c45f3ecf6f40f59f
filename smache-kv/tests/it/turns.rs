//! Many writers of one process on an optimistic store.

use std::{sync::Arc, time::Duration};

use smache_core::{Backend, ManualClock, Namespace};
use smache_kv::KvBackend;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    steps::{change, compute, id},
    tree::{Conflicts, Tree},
};

const ROUND_TRIP: Duration = Duration::from_millis(1);

/// Every commit conflicts if anything at all was written since its begin.
fn remote() -> (Tree, KvBackend, Namespace) {
    let tree = Tree::new(ManualClock::default(), Conflicts::Real);
    tree.be_remote(ROUND_TRIP);
    (tree.clone(), KvBackend::builder(tree).page(1_000).build(), Namespace::new("shop").expect("a good name"))
}

#[tokio::test(start_paused = true)]
async fn sixteen_writers_all_succeed_at_the_pace_of_one() {
    const EACH: u32 = 25;
    let (tree, backend, namespace) = remote();
    let store = backend.store(&namespace).expect("a store");
    store.invalidate(change("warm")).await.expect("invalidate");
    let (started, begun) = (Instant::now(), tree.used().0);
    store.invalidate(change("alone")).await.expect("invalidate");
    let (alone, begun_alone) = (started.elapsed(), tree.used().0 - begun);

    let (started, begun) = (Instant::now(), tree.used().0);
    let mut writers = JoinSet::new();
    for writer in 0..16 {
        let store = backend.store(&namespace).expect("a store");
        writers.spawn(async move {
            for round in 0..EACH {
                store.invalidate(change(&format!("{writer} {round}"))).await.expect("its turn comes");
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.expect("no panic");
    }
    let (took, attempts) = (started.elapsed(), tree.used().0 - begun);
    assert_eq!(store.stats().await.expect("stats").revision, u64::from(16 * EACH) + 2);
    assert_eq!(attempts, u64::from(16 * EACH) * begun_alone, "none was in vain");
    assert!(took <= alone * (16 * EACH + 1), "{took:?}, and one takes {alone:?}");
}

/// A long step loses against short ones until it has lost a few times.
#[tokio::test(start_paused = true)]
async fn step_that_has_lost_a_few_times_takes_precedence() {
    let (tree, backend, namespace) = remote();
    let store = backend.store(&namespace).expect("a store");
    tree.be_remote(Duration::ZERO);
    for number in 0..100 {
        compute(&*store, id(number), "many").await;
    }
    tree.be_remote(ROUND_TRIP);
    let mut small = JoinSet::new();
    for writer in 0..8 {
        let store = Arc::clone(&store);
        small.spawn(async move {
            for _ in 0..50 {
                compute(&*store, id(200 + writer), "small").await;
            }
        });
    }
    let started = Instant::now();
    assert_eq!(store.invalidate(change("many")).await.expect("its turn comes").marked, 100);
    assert!(started.elapsed() < ROUND_TRIP * 200, "{:?}", started.elapsed());
    assert!(!small.is_empty());
    while let Some(done) = small.join_next().await {
        done.expect("no panic");
    }
}

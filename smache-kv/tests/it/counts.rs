//! The numbers of a namespace, and the capacity of a store.

use std::{sync::Arc, time::Duration};

use smache_core::{
    Backend, CacheStore, JobCounts, JobEnd, JobQueue, Lane, ManualClock, Namespace, NewJob, Reserve, Settlement, Token,
};
use smache_kv::KvBackend;

use crate::{
    steps::{LONG, begin, both, change, compute, id},
    tree::{Conflicts, Tree},
};

fn tree(conflicts: Conflicts) -> (Tree, ManualClock) {
    let clock = ManualClock::default();
    (Tree::new(clock.clone(), conflicts), clock)
}

fn shop() -> Namespace {
    Namespace::new("shop").expect("a good name")
}

/// Compares the numbers with the keys that are there.
async fn assert_exact(tree: &Tree, store: &dyn CacheStore, queue: &dyn JobQueue) {
    let stats = store.stats().await.expect("stats");
    let found = [stats.entries, stats.stale, stats.running, stats.invalidations];
    assert_eq!(found, [b'h', b'z', b't', b'n'].map(|role| tree.keys_of(role, b"")));
    let JobCounts { propagation, recompute, running, dead_letters } = queue.counts().await.expect("counts");
    assert_eq!([propagation, recompute], [&[0], &[1]].map(|lane| tree.keys_of(b'q', lane)));
    assert_eq!([running, dead_letters], [&[1], &[2]].map(|state| tree.keys_of(b'i', state)));
}

async fn maintain(store: &dyn CacheStore, clock: &ManualClock) {
    for _ in 0..3 {
        clock.advance(Duration::from_secs(2));
        while store.maintain(100).await.expect("maintain").more {}
    }
}

#[tokio::test]
async fn numbers_are_those_of_the_keys_after_every_step() {
    let (tree, clock) = tree(Conflicts::EveryThird);
    let (store, queue) = both(&tree);
    for number in 0..30_u8 {
        compute(&*store, id(number), if number % 2 == 0 { "even" } else { "odd" }).await;
        if number % 7 == 0 {
            begin(&*store, id(number + 100)).await;
        }
        if number % 5 == 0 {
            store.invalidate(change("even")).await.expect("invalidate");
        }
        assert_exact(&tree, &*store, &*queue).await;
    }
    let taken = queue.reserve(Reserve::new(Lane::Recompute, 6, LONG)).await.expect("reserve").jobs;
    assert_exact(&tree, &*store, &*queue).await;
    for (number, job) in taken.iter().enumerate() {
        let error = "out of paper".to_owned();
        let end = match number % 3 {
            0 => JobEnd::Done,
            1 => JobEnd::Retry { delay: Duration::ZERO, error },
            _ => JobEnd::DeadLetter { error },
        };
        queue.settle(&[Settlement { id: job.id, token: job.token, end }]).await.expect("settle");
        assert_exact(&tree, &*store, &*queue).await;
    }
    store.remove(&id(3), None).await.expect("remove");
    assert_exact(&tree, &*store, &*queue).await;
    clock.advance(LONG * 2);
    maintain(&*store, &clock).await;
    assert_exact(&tree, &*store, &*queue).await;
    assert_eq!(tree.keys_of(b'+', b""), 0, "everything is in the totals");
    assert_eq!(store.stats().await.expect("stats").entries, 29);
}

#[tokio::test]
async fn numbers_are_right_again_after_damage() {
    for spoilt in [b'h', b'j', b'r', b'y', b'+'] {
        let (tree, clock) = tree(Conflicts::Never);
        let (store, queue) = both(&tree);
        for number in 0..20 {
            compute(&*store, id(number), "a").await;
        }
        store.invalidate(change("a")).await.expect("invalidate");
        begin(&*store, id(100)).await;
        if spoilt == b'y' {
            maintain(&*store, &clock).await;
        }
        assert!(tree.spoil(spoilt) > 0);
        for number in 0..20 {
            compute(&*store, id(number), "b").await;
        }
        maintain(&*store, &clock).await;
        // The places of damaged runs and jobs go with the next look at them.
        clock.advance(LONG * 2);
        while !queue.reserve(Reserve::new(Lane::Recompute, 100, LONG)).await.expect("reserve").jobs.is_empty() {}
        maintain(&*store, &clock).await;
        assert_exact(&tree, &*store, &*queue).await;
        assert_eq!(store.stats().await.expect("stats").entries, 20, "{}", char::from(spoilt));
    }
}

#[tokio::test]
async fn statistics_read_no_index() {
    let (tree, clock) = tree(Conflicts::Never);
    let (store, queue) = both(&tree);
    for number in 0..200 {
        compute(&*store, id(number), "a").await;
    }
    store.invalidate(change("a")).await.expect("invalidate");
    maintain(&*store, &clock).await;
    let before = tree.scanned();
    assert_eq!(store.stats().await.expect("stats").stale, 200);
    assert_eq!(queue.counts().await.expect("counts").recompute, 200);
    assert_eq!(tree.scanned(), before);
}

#[tokio::test]
async fn queue_alone_adds_its_numbers_up_when_jobs_are_reserved() {
    let (tree, clock) = tree(Conflicts::Never);
    let queue = KvBackend::new(tree.clone()).queue(&shop()).expect("a queue");
    for round in 0..200_u8 {
        queue.enqueue(&[NewJob::now(id(round), Lane::Recompute)]).await.expect("enqueue");
        queue.reserve(Reserve::new(Lane::Propagation, 1, LONG)).await.expect("reserve");
        clock.advance(Duration::from_millis(100));
    }
    assert_eq!(queue.counts().await.expect("counts").recompute, 200);
    assert!(tree.keys_of(b'+', b"") < 40, "{}", tree.keys_of(b'+', b""));
}

fn small(tree: &Tree) -> (Arc<dyn CacheStore>, Arc<dyn JobQueue>) {
    KvBackend::builder(tree.clone()).capacity(10).build().both(&shop()).expect("it has both")
}

#[tokio::test]
async fn entry_under_computation_stays() {
    let (tree, clock) = tree(Conflicts::Never);
    let (store, queue) = small(&tree);
    for number in 0..10 {
        compute(&*store, id(number), "a").await;
        clock.advance(Duration::from_millis(1));
    }
    begin(&*store, id(0)).await;
    store.invalidate(change("a")).await.expect("invalidate");
    for number in 10..15 {
        compute(&*store, id(number), "b").await;
    }
    let there = store.lookup(&[0, 1, 5, 6, 14].map(id)).await.expect("look-up").entries;
    let there: Vec<bool> = there.iter().map(Option::is_some).collect();
    assert_eq!(there, [true, false, false, true, true], "the run of the oldest one is under way");
    assert_exact(&tree, &*store, &*queue).await;
    assert_eq!(tree.keys_of(b'b', b""), 10, "every entry has one place");
}

/// Its programs did not say a capacity at first, or do not agree.
#[tokio::test]
async fn entries_of_a_program_without_a_capacity_go_too() {
    let (tree, clock) = tree(Conflicts::Never);
    let (unbounded, queue) = both(&tree);
    for number in 0..50 {
        compute(&*unbounded, id(number), "a").await;
    }
    let (store, _) = small(&tree);
    maintain(&*store, &clock).await;
    maintain(&*store, &clock).await;
    assert_eq!(store.stats().await.expect("stats").entries, 10);
    assert_exact(&tree, &*store, &*queue).await;

    for number in 50..60 {
        compute(&*store, id(number), "a").await;
    }
    for number in 50..60 {
        let removed = unbounded.remove(&id(number), None::<Token>).await.expect("remove");
        assert!(removed);
    }
    for number in 60..80 {
        compute(&*store, id(number), "a").await;
    }
    maintain(&*store, &clock).await;
    assert_eq!((store.stats().await.expect("stats").entries, tree.keys_of(b'b', b"")), (10, 10));
}

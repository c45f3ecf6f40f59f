//! The bounds of this backend.

use std::{sync::Arc, time::Duration};

use smache_core::{
    Backend, CacheStore, ChangedDependency, Commit, CommitOutcome, Dependency, EntryId, EntryStore, Invalidation,
    InvalidationStore, JobWrites, ManualClock, Namespace, UsedDependency,
};
use smache_testkit::steps::{self, direct, id};

use super::MemoryStore;
use crate::{Loss, Memory, namespace::NamespaceState};

const LEASE: Duration = Duration::from_secs(60);

fn shared(capacity: usize) -> (Arc<NamespaceState>, MemoryStore, ManualClock) {
    let clock = ManualClock::default();
    let shared = Arc::new(NamespaceState::new(Arc::new(clock.clone()), capacity, super::Incarnation::new("here")));
    let store = MemoryStore::new(Arc::clone(&shared), JobWrites::SameStep);
    (shared, store, clock)
}

async fn begin(store: &dyn CacheStore, id: EntryId) -> Commit {
    steps::begin_for(store, id, LEASE).await.value("value", &[])
}

async fn compute(store: &dyn CacheStore, id: EntryId, used: &[UsedDependency], ttl: Option<Duration>) -> CommitOutcome {
    let commit = Commit { used: used.to_vec(), ttl, ..begin(store, id).await };
    store.commit(commit).await.expect("commit")
}

async fn change(store: &dyn CacheStore, name: &str) -> u64 {
    let changed = vec![ChangedDependency { dependency: Dependency::tag(name), cause: name.into() }];
    store.invalidate(Invalidation { changed, ..Invalidation::default() }).await.expect("invalidate").marked
}

async fn there(store: &dyn CacheStore, numbers: std::ops::Range<u32>) -> Vec<u32> {
    let ids: Vec<EntryId> = numbers.clone().map(id).collect();
    let entries = store.lookup(&ids).await.expect("lookup").entries;
    numbers.zip(entries).filter_map(|(number, entry)| entry.map(|_| number)).collect()
}

/// The size of every collection of a namespace.
fn held(shared: &NamespaceState) -> Vec<usize> {
    let count = |state: &mut crate::namespace::State| {
        let cache = &state.cache;
        let jobs = state.jobs.counts();
        vec![
            cache.records.len(),
            cache.edges.len(),
            cache.changed.len(),
            cache.runs.len(),
            cache.expiring.len(),
            cache.stale.len(),
            cache.order.len(),
            (jobs.propagation + jobs.recompute + jobs.running + jobs.dead_letters) as usize,
        ]
    };
    shared.step(|state, _| count(state)).expect("a whole state")
}

#[tokio::test]
async fn entry_that_was_stored_least_recently_makes_room() {
    let (shared, store, _) = shared(3);
    for number in 0..3 {
        compute(&store, id(number), &[direct(number), direct("all")], Some(LEASE)).await;
    }
    // Stored again, so it is not the oldest any more.
    compute(&store, id(0), &[direct("0"), direct("all")], None).await;
    change(&store, "1").await;
    compute(&store, id(3), &[direct("all")], None).await;
    compute(&store, id(4), &[direct("all")], None).await;
    assert_eq!(held(&shared), [3, 2, 1, 0, 0, 0, 3, 0], "records, edges, changes, runs, ends, stale, order, jobs");
    assert_eq!(there(&store, 0..5).await, [0, 3, 4]);
    assert_eq!(change(&store, "all").await, 3);
}

#[tokio::test]
async fn entry_that_is_read_stays_longer() {
    let (_, store, _) = shared(10);
    for number in 0..10 {
        compute(&store, id(number), &[], None).await;
    }
    // One round takes the second chance from all.
    compute(&store, id(10), &[], None).await;
    assert_eq!(there(&store, 4..6).await, [4, 5]);
    for number in 11..18 {
        compute(&store, id(number), &[], None).await;
    }
    assert_eq!(there(&store, 0..18).await, [4, 5, 10, 11, 12, 13, 14, 15, 16, 17]);
}

#[tokio::test]
async fn run_of_an_evicted_entry_still_stores_it() {
    let (shared, store, _) = shared(1);
    compute(&store, id(1), &[direct("a")], None).await;
    let run = begin(&store, id(1)).await;
    change(&store, "b").await;
    compute(&store, id(2), &[direct("a")], None).await;
    assert_eq!(there(&store, 1..3).await, [2]);
    let run = Commit { used: vec![direct("b")], ..run };
    let outcome = store.commit(run).await.expect("commit");
    assert!(
        matches!(outcome, CommitOutcome::Conflicted { .. }),
        "the change is not forgotten with the entry: {outcome:?}"
    );
    assert_eq!((there(&store, 1..3).await, held(&shared)[0]), (vec![1], 1));
}

#[tokio::test]
async fn ten_thousand_expired_entries_leave_nothing_at_all() {
    let (shared, store, clock) = shared(100_000);
    for number in 0..10_000 {
        let own = direct(number);
        compute(&store, id(number), &[own, direct("all")], Some(Duration::from_secs(1))).await;
        if number % 3 == 0 {
            change(&store, &number.to_string()).await;
        }
        if number % 100 == 0 {
            begin(&store, id(number)).await;
        }
    }
    assert_eq!(held(&shared)[0], 10_000);
    clock.advance(LEASE * 2);
    while store.maintain(500).await.expect("maintain").more {}
    store.maintain(500).await.expect("maintain");
    assert_eq!(held(&shared), [0; 8], "records, edges, changes, runs, ends, stale, order, jobs");
}

#[tokio::test]
async fn remembered_changes_are_bounded_without_any_maintenance() {
    let (shared, store, _) = shared(100);
    for number in 0..25_000_u32 {
        change(&store, &number.to_string()).await;
    }
    assert!(held(&shared)[2] <= 10_000, "{:?}", held(&shared));

    // A very long run pins them all; then the run loses its commit, and memory stays bounded.
    let run = Commit { used: vec![direct("unused")], ..begin(&store, id(1)).await };
    for number in 0..25_000_u32 {
        change(&store, &number.to_string()).await;
    }
    assert!(held(&shared)[2] <= 10_000, "{:?}", held(&shared));
    let outcome = store.commit(run).await.expect("commit");
    assert!(matches!(outcome, CommitOutcome::Conflicted { .. }), "nobody knows what it missed: {outcome:?}");
    assert!(matches!(compute(&store, id(1), &[direct("unused")], None).await, CommitOutcome::Fresh { .. }));
}

#[tokio::test]
async fn clones_and_roles_of_one_value_share_their_data() {
    let memory = Memory::new();
    let namespace = Namespace::new("shop").expect("a good name");
    let (both, jobs) = memory.both(&namespace).expect("both");
    let alone = memory.clone().store(&namespace).expect("a store");
    compute(&*both, id(1), &[direct("a")], None).await;
    assert_eq!(there(&*alone, 1..2).await, [1]);
    assert_eq!((alone.job_writes(), both.job_writes()), (JobWrites::Reported, JobWrites::SameStep));
    change(&*alone, "a").await;
    assert_eq!(jobs.counts().await.expect("counts").recompute, 0, "a store alone writes no jobs");
    change(&*both, "a").await;
    assert_eq!(jobs.counts().await.expect("counts").recompute, 1);
    let queue = memory.queue(&namespace).expect("a queue");
    assert_eq!(queue.counts().await.expect("counts").recompute, 0, "a queue alone is another one");
    for other in [memory.store(&Namespace::new("other").expect("a good name")), Memory::new().store(&namespace)] {
        assert!(there(&*other.expect("a store"), 1..2).await.is_empty());
    }
}

#[tokio::test]
async fn simulated_restart_changes_the_incarnation_and_may_lose_everything() {
    let memory = Memory::new();
    let namespace = Namespace::new("shop").expect("a good name");
    let (store, jobs) = memory.both(&namespace).expect("both");
    compute(&*store, id(1), &[direct("a")], None).await;
    change(&*store, "a").await;
    let first = store.lookup(&[]).await.expect("lookup");
    memory.simulate_restart(Loss::Nothing);
    let second = store.lookup(&[]).await.expect("lookup");
    assert_ne!(first.incarnation, second.incarnation);
    assert_eq!((first.validity.epoch, there(&*store, 1..2).await), (second.validity.epoch, vec![1]));
    memory.simulate_restart(Loss::Everything);
    let third = store.lookup(&[]).await.expect("lookup");
    assert_ne!((&second.incarnation, second.validity.epoch), (&third.incarnation, third.validity.epoch));
    assert_eq!((there(&*store, 1..2).await, jobs.counts().await.expect("counts")), (vec![], Default::default()));
    let new = memory.store(&Namespace::new("new").expect("a good name")).expect("a store");
    assert_eq!(new.lookup(&[]).await.expect("lookup").incarnation, third.incarnation);
}

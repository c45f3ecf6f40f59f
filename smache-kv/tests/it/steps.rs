//! Cases outside of the suites: steps that end half-way, stores that misbehave, and keys that remain.

use std::{sync::Arc, time::Duration};

use smache_core::{
    Backend, Begun, CacheStore, Commit, CommitOutcome, EntryId, ErrorKind, Invalidation, JobQueue, Lane, ManualClock,
    Namespace, NewJob, Reserve, Token,
};
use smache_kv::KvBackend;
use smache_testkit::steps;
pub(crate) use smache_testkit::steps::LONG;

use crate::tree::{Conflicts, Tree};

pub(crate) fn id(number: u8) -> EntryId {
    EntryId::from_bytes([number; EntryId::LEN])
}

pub(crate) fn change(name: &str) -> Invalidation {
    steps::changes_of(&[name])
}

pub(crate) fn both(tree: &Tree) -> (Arc<dyn CacheStore>, Arc<dyn JobQueue>) {
    let backend = KvBackend::builder(tree.clone()).page(3).build();
    backend.both(&Namespace::new("shop").expect("a good name")).expect("it has both")
}

pub(crate) async fn begin(store: &dyn CacheStore, id: EntryId) -> (Token, Box<Begun>) {
    let run = steps::begin(store, id).await;
    (run.token, run.begun)
}

pub(crate) fn value(id: EntryId, (token, begun): (Token, Box<Begun>), tag: &str) -> Commit {
    steps::Run { id, token, begun }.value("value", &[steps::direct(tag)])
}

pub(crate) async fn commit(store: &dyn CacheStore, id: EntryId, run: (Token, Box<Begun>), tag: &str) -> CommitOutcome {
    store.commit(value(id, run, tag)).await.expect("commit")
}

pub(crate) async fn compute(store: &dyn CacheStore, id: EntryId, tag: &str) -> CommitOutcome {
    let run = begin(store, id).await;
    commit(store, id, run, tag).await
}

pub(crate) fn is_fresh(outcome: &CommitOutcome) -> bool {
    matches!(outcome, CommitOutcome::Fresh { .. })
}

#[tokio::test]
async fn invalidation_whose_author_dies_half_way_is_done_again() {
    for pages in 0..5 {
        let clock = ManualClock::default();
        let tree = Tree::new(clock.clone(), Conflicts::Never);
        let (store, queue) = both(&tree);
        for number in 1..=10 {
            assert!(is_fresh(&compute(&*store, id(number), "a").await));
        }
        let ran_before = begin(&*store, id(11)).await;
        // The marks, and that many pages of three; the last page has one.
        tree.fail_after(Some(1 + pages));
        let error = store.invalidate(change("a")).await.expect_err("the author dies");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        tree.fail_after(None);

        assert!(!is_fresh(&commit(&*store, id(11), ran_before, "a").await), "it read what is being changed");
        let run = begin(&*store, id(10)).await;
        assert!(run.1.pending, "better wait a little");
        assert!(!is_fresh(&commit(&*store, id(10), run, "a").await), "an edge behind a page that was marked");
        assert!(is_fresh(&compute(&*store, id(12), "b").await), "nothing happens to it");
        assert_eq!(store.maintain(100).await.expect("maintain").redone, 0, "its author may still be at it");

        clock.advance(Duration::from_secs(31));
        let revision_before = store.stats().await.expect("stats").revision;
        assert_eq!(store.maintain(100).await.expect("maintain").redone, 1);
        let stats = store.stats().await.expect("stats");
        assert_eq!((stats.stale, stats.revision), (11, revision_before + 1), "after {pages} pages");
        let counts = queue.counts().await.expect("counts");
        assert_eq!(counts.recompute, 11);
        assert!(is_fresh(&compute(&*store, id(1), "a").await), "no mark is left");
        assert_eq!(store.maintain(100).await.expect("maintain").redone, 0);
    }
}

#[tokio::test]
async fn walk_that_takes_long_is_not_taken_for_a_dead_one() {
    let clock = ManualClock::default();
    let tree = Tree::new(clock.clone(), Conflicts::Never);
    let (store, _) = both(&tree);
    for number in 1..=20 {
        compute(&*store, id(number), "a").await;
    }
    // The marks, and five pages of three: longer than the lifetime of a mark.
    tree.take(Duration::from_secs(9));
    tree.fail_after(Some(6));
    store.invalidate(change("a")).await.expect_err("the author dies after a minute");
    tree.take(Duration::ZERO);
    tree.fail_after(None);
    assert_eq!(store.maintain(100).await.expect("maintain").redone, 0, "it was alive a moment ago");
    assert!(!is_fresh(&compute(&*store, id(21), "a").await), "its mark holds");
    clock.advance(Duration::from_secs(31));
    assert_eq!(store.maintain(100).await.expect("maintain").redone, 1);
    assert!(is_fresh(&compute(&*store, id(1), "a").await), "no mark is left");
}

#[tokio::test]
async fn invalidation_again_clears_what_the_feed_left_behind() {
    let tree = Tree::new(ManualClock::default(), Conflicts::Never);
    let (store, _) = both(&tree);
    for number in 1..=10 {
        compute(&*store, id(number), "a").await;
    }
    let feed = smache_core::FeedId::new("feed").expect("a good name");
    let holder = Token::random();
    let smache_core::Leadership::Leader { fence } = store.lead(&feed, holder, LONG).await.expect("lead") else {
        panic!("another process leads");
    };
    let incarnation = store.positions(&[]).await.expect("positions").incarnation;
    let step = smache_core::FeedStep {
        feed,
        fence,
        leadership: LONG,
        incarnation,
        positions: Vec::new(),
        valid_for: None,
        deadline: None,
        caught_up: false,
    };
    let invalidation = Invalidation { step: Some(step), ..change("a") };
    tree.fail_after(Some(2));
    store.invalidate(invalidation.clone()).await.expect_err("the connection breaks");
    tree.fail_after(None);
    assert_eq!(store.invalidate(invalidation).await.expect("again").marked, 10);
    assert!(is_fresh(&compute(&*store, id(1), "a").await), "neither of the two has left a mark");
}

#[tokio::test]
async fn nothing_is_left_of_what_is_over() {
    let clock = ManualClock::default();
    let tree = Tree::new(clock.clone(), Conflicts::Never);
    let (store, queue) = both(&tree);
    store.attach(&[]).await.expect("attach");
    for number in 1..=20 {
        compute(&*store, id(number), "a").await;
    }
    store.invalidate(change("a")).await.expect("invalidate");
    store.new_epoch().await.expect("new epoch");
    let reserve = Reserve::new(Lane::Recompute, 5, LONG);
    let taken = queue.reserve(reserve).await.expect("reserve").jobs;
    for job in &taken {
        compute(&*store, job.id, "b").await;
        let end = smache_core::JobEnd::Done;
        queue.settle(&[smache_core::Settlement { id: job.id, token: job.token, end }]).await.expect("settle");
    }
    assert_eq!(taken.len(), 5);
    begin(&*store, id(30)).await;
    for number in 1..=30 {
        store.remove(&id(number), None).await.expect("remove");
    }
    clock.advance(LONG * 2);
    // The numbers are added up a second later.
    for _ in 0..3 {
        while store.maintain(7).await.expect("maintain").more {}
        clock.advance(Duration::from_secs(2));
    }
    // The layout, the validity, the lease of attached sources, the revision and its low watermark.
    assert_eq!(tree.len(), 5, "{tree:?}");
}

#[tokio::test]
async fn conflicts_without_end_are_a_transient_error() {
    let tree = Tree::new(ManualClock::default(), Conflicts::Always);
    let (store, _) = both(&tree);
    let error = store.new_epoch().await.expect_err("it never gets through");
    assert!(error.kind() == ErrorKind::Unavailable && error.is_transient(), "{error:?}");
    assert!(store.lookup(&[id(1)]).await.is_ok(), "who only reads commits nothing");
}

/// Among writers that never pause only a short transaction comes through.
#[tokio::test]
async fn pages_get_shorter_where_long_transactions_meet_others() {
    let tree = Tree::new(ManualClock::default(), Conflicts::Above(200));
    let backend = KvBackend::new(tree.clone());
    let (store, _) = backend.both(&Namespace::new("shop").expect("a good name")).expect("it has both");
    for number in 0..=u8::MAX {
        compute(&*store, id(number), "a").await;
    }
    assert_eq!(store.invalidate(change("a")).await.expect("it comes through").marked, 256);
    backend.clear(&Namespace::new("shop").expect("a good name")).await.expect("so does this");
    assert_eq!(tree.len(), 0);
}

/// Short pages that succeed prove nothing about long ones.
#[tokio::test]
async fn pages_stay_short_while_small_changes_succeed() {
    let tree = Tree::new(ManualClock::default(), Conflicts::Above(200));
    let (store, _) = KvBackend::new(tree).both(&Namespace::new("shop").expect("a good name")).expect("it has both");
    for number in 0..=u8::MAX {
        compute(&*store, id(number), "a").await;
    }
    let big = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.invalidate(change("a")).await }
    });
    while !big.is_finished() {
        store.invalidate(change("small")).await.expect("it is alone");
        tokio::task::yield_now().await;
    }
    assert_eq!(big.await.expect("no panic").expect("it comes through").marked, 256);
}

#[tokio::test]
async fn job_of_another_process_is_found_long_before_the_timeout() {
    let tree = Tree::new(ManualClock::default(), Conflicts::Never);
    let (_, here) = both(&tree);
    let (_, elsewhere) = both(&tree);
    let waits = tokio::spawn(async move {
        loop {
            here.wait(Duration::from_secs(60)).await.expect("wait");
            let reserve = Reserve::new(Lane::Recompute, 1, LONG);
            if let Some(job) = here.reserve(reserve).await.expect("reserve").jobs.pop() {
                return job.id;
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    elsewhere.enqueue(&[NewJob::now(id(1), Lane::Recompute)]).await.expect("enqueue");
    let found = tokio::time::timeout(Duration::from_secs(20), waits).await;
    assert_eq!(found.expect("long before 60 s").expect("the worker"), id(1));
}

#[tokio::test]
async fn mark_is_cleared_by_its_own_invalidation_only() {
    let tree = Tree::new(ManualClock::default(), Conflicts::Never);
    let (store, _) = both(&tree);
    for number in 1..=10 {
        compute(&*store, id(number), "a").await;
    }
    tree.fail_after(Some(2));
    store.invalidate(change("a")).await.expect_err("the author dies");
    tree.fail_after(None);
    assert_eq!(store.invalidate(change("a")).await.expect("the change of another author").marked, 10);
    let run = begin(&*store, id(1)).await;
    assert!(run.1.pending, "the first one is not over");
    assert!(!is_fresh(&commit(&*store, id(1), run, "a").await));
}

#[tokio::test]
async fn entries_of_another_incarnation_get_jobs_when_their_source_is_attached() {
    let tree = Tree::new(ManualClock::default(), Conflicts::Never);
    let (store, queue) = both(&tree);
    let users = smache_core::SourceId::new("users").expect("a good name");
    store.attach(std::slice::from_ref(&users)).await.expect("attach");
    let (token, begun) = begin(&*store, id(1)).await;
    let epochs = begun.validity.epochs([&users]);
    let value = Commit { epochs, ..value(id(1), (token, begun), "a") };
    assert!(is_fresh(&store.commit(value).await.expect("commit")));
    while store.maintain(7).await.expect("maintain").more {}
    assert_eq!(queue.counts().await.expect("counts").recompute, 0);

    tree.become_another();
    store.attach(&[users]).await.expect("attach");
    assert_eq!(store.maintain(7).await.expect("maintain").marked, 1);
    assert_eq!(queue.counts().await.expect("counts").recompute, 1);
}

#[tokio::test]
async fn worker_wakes_when_the_lease_of_another_one_ends() {
    let tree = Tree::new(ManualClock::default(), Conflicts::Never);
    let backend = KvBackend::builder(tree).poll(Duration::from_secs(60)).build();
    let queue = backend.queue(&Namespace::new("shop").expect("a good name")).expect("it has queues");
    queue.enqueue(&[NewJob::now(id(1), Lane::Recompute)]).await.expect("enqueue");
    let lease = Duration::from_millis(50);
    let taken = queue.reserve(Reserve::new(Lane::Recompute, 1, lease)).await.expect("reserve");
    assert_eq!(taken.jobs.len(), 1);
    let wait = queue.wait(Duration::from_secs(60));
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("long before 60 s").expect("wait");
}

#[tokio::test]
async fn store_that_says_nothing_of_itself_is_one_of_the_application() {
    let (store, queue) = both(&Tree::new(ManualClock::default(), Conflicts::Never));
    for said in [store.examine().await, queue.examine().await] {
        assert_eq!(said.expect("examine").what, "a key-value store of the application's own");
    }
}

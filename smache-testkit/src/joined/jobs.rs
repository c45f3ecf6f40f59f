//! The jobs that a change, a commit or a removal writes or takes back.

use smache_core::{Commit, Dependency, Invalidation, JobEnd, JobWrites, Lane, NewJob, Settled};

use super::{both, due};
use crate::{
    JoinedHarness,
    queue::{counts, dead_letter, delivery::until_due_within, enqueue, job, reserve, reserve_one, settle},
    steps::*,
};

/// When a change is acknowledged every entry that it made stale has a job, in the lane of its staleness.
pub async fn every_stale_entry_has_a_job(harness: JoinedHarness) {
    let (store, queue) = both(&harness);
    assert_eq!(store.job_writes(), JobWrites::SameStep);
    compute(store, id(1), "direct", &[direct("a")]).await;
    compute(store, id(2), "nested", &[child("a")]).await;
    compute(store, id(3), "fresh", &[direct("b")]).await;
    compute(store, id(4), "named", &[direct("b")]).await;
    let changed = vec![change_of(tag("a")), change_of(Dependency::entry(&id(4)))];
    let invalidated =
        store.invalidate(Invalidation { changed, entries: vec![id(4)], step: None }).await.expect("invalidate");
    assert!(invalidated.jobs.is_empty(), "what the store wrote itself it does not report: {:?}", invalidated.jobs);
    assert_eq!(counts(queue).await, [1, 2, 0, 0]);
    change(store, "a").await;
    assert_eq!(counts(queue).await, [1, 2, 0, 0], "one job an entry");
    assert_eq!(due(queue).await, [vec![id(2)], vec![id(1), id(4)]]);
}

/// Beyond the contract: a maybe stale entry that becomes stale still has one job, in a lane that is served.
pub async fn job_follows_the_staleness(harness: JoinedHarness) {
    let (store, queue) = both(&harness);
    compute(store, id(1), "one", &[child("a"), direct("b")]).await;
    change(store, "a").await;
    assert_eq!(counts(queue).await, [1, 0, 0, 0]);
    change(store, "b").await;
    let [propagation, recompute] = due(queue).await;
    assert_eq!([propagation, recompute].concat(), [id(1)], "one job");
}

/// Beyond the contract: an entry that two changes of one invalidation affect has one job, in the lane of the more
/// direct one.
pub async fn job_follows_the_more_direct_of_two_changes(harness: JoinedHarness) {
    let (store, queue) = both(&harness);
    for (number, used) in
        [[child("a"), direct("b")], [direct("c"), child("d")], [child("e"), child("f")]].iter().enumerate()
    {
        compute(store, id(u32::try_from(number).expect("three")), "one", used).await;
    }
    for names in [["a", "b"], ["c", "d"], ["e", "f"]] {
        assert_eq!(store.invalidate(changes_of(&names)).await.expect("invalidate").jobs, []);
    }
    assert_eq!(due(queue).await, [vec![id(2)], vec![id(0), id(1)]]);
}

/// Beyond the contract: a value that is stored as stale has a job, not before the delay of its commit.
pub async fn value_stored_as_stale_has_a_job_later(harness: JoinedHarness) {
    let (store, queue) = both(&harness);
    for (number, delay, used) in [(1, SHORT, direct(1)), (2, LONG, direct(2)), (3, SHORT, child(3))] {
        let run = begin(store, id(number)).await;
        change(store, number).await;
        let stale = Commit { conflict_delay: delay, ..run.value("overtaken", &[used]) };
        assert_conflicted(&commit(store, stale).await, &[tag(number)]);
    }
    harness.advance(PAUSE).await;
    assert_eq!(due(queue).await, [vec![id(3)], vec![id(1)]]);
    assert_eq!(counts(queue).await, [0, 1, 2, 0]);
}

/// Beyond the contract: a worker that waits knows soon when the job of a value that was stored as stale is due.
pub async fn value_stored_as_stale_wakes_a_waiting_worker(harness: JoinedHarness) {
    let (store, queue) = both(&harness);
    let run = begin(store, id(1)).await;
    change(store, "a").await;
    // Earlier notifications arrive before the wait.
    let waits = harness.role().queue.clone();
    let waiting = tokio::spawn(async move { until_due_within(&*waits, LONG).await });
    tokio::time::sleep(PAUSE).await;
    let stale = Commit { conflict_delay: LONG, ..run.value("overtaken", &[direct("a")]) };
    assert_conflicted(&commit(store, stale).await, &[tag("a")]);
    waiting.await.expect("a hint");
    assert_eq!(counts(queue).await, [0, 1, 0, 0]);
}

/// An entry that refreshes on read waits for its reader: no step that makes it stale writes a job.
pub async fn lazy_entry_gets_no_job(harness: JoinedHarness) {
    let (store, queue) = both(&harness);
    let lazy = async |value: &str, run: Run| {
        commit(store, Commit { lazy: true, ..run.value(value, &[direct("a")]) }).await;
    };
    lazy("one", begin(store, id(1)).await).await;
    change(store, "a").await;
    let run = begin(store, id(1)).await;
    change(store, "a").await;
    lazy("overtaken", run).await;
    let run = begin(store, id(1)).await;
    let abort = smache_core::Abort {
        id: id(1),
        token: run.token,
        failure: Some("failed".into()),
        delay: std::time::Duration::ZERO,
    };
    assert!(store.abort(abort).await.expect("abort"));
    store.new_epoch().await.expect("new epoch");
    maintain(store).await;
    assert!(!is_fresh(store, id(1)).await);
    assert_eq!(counts(queue).await, [0; 4]);
}

/// A value that is stored fresh takes back the job of its entry: one that is queued, delayed or a dead letter.
pub async fn fresh_commit_takes_back_the_job(harness: JoinedHarness) {
    let (store, queue) = both(&harness);
    for number in 1..=3 {
        compute(store, id(number), "one", &[direct("a")]).await;
    }
    change(store, "a").await;
    assert_eq!(counts(queue).await, [0, 3, 0, 0]);
    compute(store, id(1), "two", &[direct("a")]).await;
    assert_eq!(counts(queue).await, [0, 2, 0, 0]);
    for job in reserve(queue).await {
        assert_eq!(settle(queue, &job, dead_letter()).await, Settled::Settled);
    }
    compute(store, id(2), "two", &[direct("a")]).await;
    assert_eq!(counts(queue).await, [0, 0, 0, 1]);
    compute(store, id(3), "two", &[direct("a")]).await;
    enqueue(queue, NewJob { delay: LONG, ..job(id(3)) }).await;
    compute(store, id(3), "three", &[direct("a")]).await;
    assert_eq!(counts(queue).await, [0; 4]);
    assert_eq!(due(queue).await, [vec![], vec![]]);
}

/// Beyond the contract: an entry that is removed, or whose time is over, takes its job along.
pub async fn removed_entry_takes_its_job_along(harness: JoinedHarness) {
    let (store, queue) = both(&harness);
    for number in 1..=3 {
        let run = begin(store, id(number)).await;
        let ttl = (number == 3).then_some(SHORT);
        commit(store, Commit { ttl, ..run.value("one", &[direct("a")]) }).await;
    }
    change(store, "a").await;
    assert_eq!(counts(queue).await, [0, 3, 0, 0]);
    store.remove(&id(1), None).await.expect("remove");
    harness.advance(PAUSE).await;
    maintain(store).await;
    assert_eq!(counts(queue).await, [0, 1, 0, 0]);
    let running = reserve_one(queue).await;
    assert_eq!(running.id, id(2));
    change(store, "a").await;
    store.remove(&id(2), None).await.expect("remove");
    assert_eq!(settle(queue, &running, JobEnd::Done).await, Settled::Settled, "a removed entry does not run once more");
    assert_eq!(counts(queue).await, [0; 4]);

    enqueue(queue, job(id(4))).await;
    assert!(!store.remove(&id(4), None).await.expect("remove"), "there is no entry");
    assert_eq!(counts(queue).await, [0; 4], "a job that is all that is there goes too");
}

/// Beyond the contract: a change brings a dead letter back, since the entry's data is different now.
pub async fn change_revives_a_dead_letter(harness: JoinedHarness) {
    let (store, queue) = both(&harness);
    compute(store, id(1), "one", &[direct("a")]).await;
    change(store, "a").await;
    let running = reserve_one(queue).await;
    assert_eq!(settle(queue, &running, dead_letter()).await, Settled::Settled);
    change(store, "a").await;
    assert_eq!(counts(queue).await, [0, 1, 0, 0]);
    let revived = reserve_one(queue).await;
    assert_eq!((revived.id, revived.errors, revived.crashes), (id(1), 0, 0));
}

/// Beyond the contract: the queue merges the jobs of people and of the engine with those that the store writes.
pub async fn job_of_the_store_is_a_job_like_others(harness: JoinedHarness) {
    let (store, queue) = both(&harness);
    compute(store, id(1), "one", &[direct("a")]).await;
    change(store, "a").await;
    assert_eq!(enqueue(queue, job(id(1))).await, smache_core::Enqueued::Merged);
    assert_eq!(enqueue(queue, NewJob { priority: 6, ..job(id(2)) }).await, smache_core::Enqueued::Queued);
    assert_eq!(enqueue(queue, NewJob { priority: 2, ..job(id(3)) }).await, smache_core::Enqueued::Queued);
    let mut order = Vec::new();
    for _ in 0..3 {
        order.extend(crate::queue::reserve_for(queue, Lane::Recompute, 1, LONG).await.into_iter().map(|job| job.id));
    }
    assert_eq!(order, [id(3), id(1), id(2)], "the store's jobs have the usual priority");
}

/// Beyond the contract: a change that affects many entries writes the jobs of all.
pub async fn many_dependants_have_jobs(harness: JoinedHarness) {
    let many = harness.many().min(2_000);
    let (store, queue) = both(&harness);
    compute_many(&harness.role().store, &ids(0..many), &[direct("a")]).await;
    assert_eq!(change(store, "a").await.marked, u64::from(many));
    assert_eq!(counts(queue).await, [0, u64::from(many), 0, 0]);
    let mut due = Vec::new();
    while due.len() < many as usize {
        let taken = reserve(queue).await;
        assert!(!taken.is_empty(), "{} of {many} jobs were delivered", due.len());
        due.extend(taken.into_iter().map(|job| job.id));
    }
    assert_eq!(sorted(&due), ids(0..many));
}

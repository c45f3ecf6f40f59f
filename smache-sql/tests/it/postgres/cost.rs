//! The cost of operations, in round trips.

use std::sync::Arc;

use smache_core::{
    Backend, CacheStore, CommitOutcome, Invalidation, JobEnd, JobQueue, Lane, NewJob, Reserve, Settlement,
};
use smache_sql::Postgres;
use smache_testkit::{random_namespace, servers::shared_postgres_url};

use super::proxy::Proxy;
use crate::support::{LONG, begin, change, compute, direct, id, look};

struct Measured {
    proxy: Proxy,
    store: Arc<dyn CacheStore>,
    queue: Arc<dyn JobQueue>,
}

impl Measured {
    /// Roles on one connection, with the statements of a round of everything known to the server.
    async fn start() -> Self {
        let proxy = Proxy::start(&shared_postgres_url(), false).await;
        let postgres = Postgres::builder(&proxy.url).connections(1).connect().await.expect("connect");
        let (store, queue) = postgres.both(&random_namespace()).expect("both");
        let measured = Self { proxy, store, queue };
        compute(&*measured.store, id(0), "value", &[direct("known")]).await;
        look(&*measured.store, id(0)).await;
        measured.store.invalidate(change("known")).await.expect("invalidate");
        measured.work(1).await;
        measured.store.maintain(10).await.expect("maintain");
        measured.quiet().await;
        measured
    }

    /// Reserves and settles jobs.
    async fn work(&self, max: usize) -> usize {
        let reserve = Reserve::new(Lane::Recompute, max, LONG);
        let jobs = self.queue.reserve(reserve).await.expect("reserve").jobs;
        let done = jobs.iter().map(|job| Settlement { id: job.id, token: job.token, end: JobEnd::Done });
        self.queue.settle(&done.collect::<Vec<_>>()).await.expect("settle");
        jobs.len()
    }

    /// Steps with jobs wake the workers of other processes, after the step and not in it: that is over by now.
    async fn quiet(&self) {
        // On the only connection, this comes after what was begun before.
        tokio::task::yield_now().await;
        self.queue.counts().await.expect("counts");
        self.queue.counts().await.expect("counts");
    }

    /// The round trips of an operation, which writes no jobs.
    async fn of<T>(&self, operation: impl Future<Output = T>) -> (T, u64) {
        let before = self.proxy.answers();
        let answer = operation.await;
        (answer, self.proxy.answers() - before)
    }
}

#[tokio::test]
async fn a_look_up_is_one_round_trip_however_many_entries() {
    let measured = Measured::start().await;
    for number in 1..50 {
        compute(&*measured.store, id(number), "value", &[direct("a")]).await;
    }
    assert_eq!(measured.of(look(&*measured.store, id(1))).await, (Some(("value".to_owned(), true)), 1));
    let all: Vec<_> = (1..100).map(id).collect();
    let (lookup, trips) = measured.of(measured.store.lookup(&all)).await;
    assert_eq!((lookup.expect("lookup").entries.iter().flatten().count(), trips), (49, 1));
}

#[tokio::test]
async fn a_computation_is_two_round_trips_whatever_it_depends_on() {
    let measured = Measured::start().await;
    let many: Vec<_> = (0..3_000).map(direct).collect();
    for used in [&many[..0], &many[..1], &many[..]] {
        let ((), trips) = measured.of(compute(&*measured.store, id(1), "value", used)).await;
        assert_eq!(trips, 2, "{} dependencies", used.len());
    }
    // A change that affects one of them meanwhile is found among all.
    let run = begin(&*measured.store, id(1)).await;
    measured.store.invalidate(change(2_999)).await.expect("invalidate");
    measured.quiet().await;
    let (outcome, trips) = measured.of(measured.store.commit(run.value("value", &many))).await;
    assert!(matches!(outcome.expect("commit"), CommitOutcome::Conflicted { .. }));
    assert_eq!(trips, 1);
}

#[tokio::test]
async fn an_invalidation_is_one_round_trip_however_much_it_affects() {
    let measured = Measured::start().await;
    for number in 1..300 {
        compute(&*measured.store, id(number), "value", &[direct("all"), direct(number)]).await;
    }
    let changed = |numbers: std::ops::Range<u32>| Invalidation {
        changed: numbers.flat_map(|number| change(number).changed).collect(),
        ..Invalidation::default()
    };
    for (invalidation, marked) in
        [(changed(1..2), 1), (changed(1..300), 299), (change("all"), 299), (change("unused"), 0)]
    {
        measured.quiet().await;
        let before = measured.proxy.answers();
        assert_eq!(measured.store.invalidate(invalidation).await.expect("invalidate").marked, marked);
        // The notifier may have been rung by now.
        let trips = measured.proxy.answers() - before;
        assert!((1..=2).contains(&trips), "{trips}");
    }
    assert_eq!(measured.queue.counts().await.expect("counts").recompute, 299);
}

#[tokio::test]
async fn jobs_are_reserved_and_settled_in_one_round_trip_each() {
    let measured = Measured::start().await;
    for many in [1, 200_u32] {
        let jobs: Vec<_> = (1..=many).map(|number| NewJob::now(id(number), Lane::Recompute)).collect();
        measured.queue.enqueue(&jobs).await.expect("enqueue");
        measured.quiet().await;
        assert_eq!(measured.of(measured.work(1_000)).await, (many as usize, 2));
    }
}

//! The cost of operations: round trips, commands, and the server's time.

use std::{collections::HashMap, time::Duration};

use redis::aio::MultiplexedConnection;
use smache_core::{Backend, Lane, NewJob, RecordWaits, Reserve, WaitingRun};
use smache_redis::Redis;
use smache_testkit::{random_namespace, servers::RedisServer};

use crate::support::{ask, begin, change, compute, compute_many, direct, id, raw, until};

/// A server whose statistics no other test changes.
struct Measured {
    _server: RedisServer,
    redis: Redis,
    probe: MultiplexedConnection,
}

/// How often each command was called since the last reset.
type Commands = HashMap<String, u64>;

impl Measured {
    async fn start() -> Self {
        let server = RedisServer::start().await;
        let redis = Redis::connect(server.url()).await.expect("the private Redis");
        let probe = raw(&server.url()).await;
        Self { redis, probe, _server: server }
    }

    async fn reset(&mut self) {
        let _: () = ask(&mut self.probe, &[b"CONFIG", b"RESETSTAT"]).await;
    }

    async fn commands(&mut self) -> Commands {
        let info: String = ask(&mut self.probe, &[b"INFO", b"commandstats"]).await;
        let number = |line: &str, name: &str| -> u64 {
            let number = line.split([':', ',']).find_map(|part| part.strip_prefix(name));
            number.and_then(|number| number.parse().ok()).expect("a number")
        };
        let lines = info.lines().filter_map(|line| line.strip_prefix("cmdstat_"));
        let all = lines.map(|line| {
            let name = line.split(':').next().expect("a name").to_owned();
            (name, number(line, "calls="))
        });
        all.filter(|(name, _)| !name.starts_with("info") && !name.starts_with("config")).collect()
    }

    /// How often the server read from a socket.
    async fn reads(&mut self) -> u64 {
        let info: String = ask(&mut self.probe, &[b"INFO", b"stats"]).await;
        let line = info.lines().find_map(|line| line.strip_prefix("total_reads_processed:")).expect("a number");
        line.trim().parse().expect("a number")
    }
}

#[tokio::test]
async fn a_lookup_is_one_pipeline_of_reads_without_a_script() {
    let mut measured = Measured::start().await;
    let store = measured.redis.store(&random_namespace()).expect("a store");
    for number in 0..3 {
        compute(&*store, id(number), &[direct("a")]).await;
    }
    measured.reset().await;
    let before = measured.reads().await;
    store.lookup(&[id(0), id(1), id(2), id(3)]).await.expect("lookup");
    let reads = measured.reads().await - before - 1;
    assert_eq!(reads, 1, "one for the look-up, and one for the question");
    let calls = measured.commands().await;
    let expected = HashMap::from([("time".to_owned(), 1), ("hgetall".to_owned(), 1), ("hmget".to_owned(), 4)]);
    assert_eq!(calls, expected);
}

#[tokio::test]
async fn a_computation_is_two_scripts_whatever_it_depends_on() {
    let mut measured = Measured::start().await;
    let (store, _) = measured.redis.both(&random_namespace()).expect("both");
    compute(&*store, id(0), &[direct("a")]).await;
    let many: Vec<_> = (0..3_000).map(direct).collect();
    compute(&*store, id(1), &many).await;
    measured.reset().await;
    compute(&*store, id(1), &many[..2_999]).await;
    assert_eq!(measured.commands().await["evalsha"], 2);
    // A change of one of them meanwhile is found among all.
    let run = begin(&*store, id(1)).await;
    store.invalidate(change([2_998])).await.expect("invalidate");
    let outcome = store.commit(run.value("value", &many)).await.expect("commit");
    assert!(
        matches!(&outcome, smache_core::CommitOutcome::Conflicted { dependencies, .. } if dependencies.len() == 1),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_job_is_found_by_one_script_of_reads() {
    let mut measured = Measured::start().await;
    let queue = measured.redis.queue(&random_namespace()).expect("a queue");
    queue.enqueue(&[NewJob::now(id(1), Lane::Recompute)]).await.expect("enqueue");
    let reserve = Reserve::new(Lane::Recompute, 10, Duration::from_secs(9));
    assert_eq!(queue.reserve(reserve).await.expect("reserve").jobs.len(), 1);
    assert_eq!(queue.find(&id(2)).await.expect("the script is known from now on"), None);
    measured.reset().await;
    let before = measured.reads().await;
    assert!(queue.find(&id(1)).await.expect("find").is_some());
    assert_eq!(measured.reads().await - before - 1, 1, "one for the job, and one for the question");
    let calls = measured.commands().await;
    // The extra one is for the layout.
    let expected = ["evalsha", "time", "hget", "hmget", "zscore"].map(|name| (name.to_owned(), 1));
    assert_eq!(calls, HashMap::from(expected));
}

#[tokio::test]
async fn a_wait_is_noted_and_answered_by_one_script() {
    let mut measured = Measured::start().await;
    let store = measured.redis.store(&random_namespace()).expect("a store");
    let [one, two] = [begin(&*store, id(1)).await, begin(&*store, id(2)).await];
    let wait = |run: &crate::support::Run, child| {
        let runs = vec![WaitingRun { id: run.id, token: run.token, child: id(child) }];
        store.record_waits(RecordWaits { runs, lease: Duration::from_secs(9), child: id(child) })
    };
    assert_eq!(wait(&one, 2).await.expect("the script is known from now on"), []);
    measured.reset().await;
    let before = measured.reads().await;
    assert_eq!(wait(&two, 1).await.expect("wait"), [(id(1), id(2)), (id(2), id(1))]);
    assert_eq!(measured.reads().await - before - 1, 1, "one for the wait, and one for the question");
    let calls = measured.commands().await;
    // Both runs are read once to note and once to answer, and once each as what the other one waits for.
    let expected = [("evalsha", 1), ("time", 1), ("hget", 6), ("hset", 1)].map(|(name, n)| (name.to_owned(), n));
    assert_eq!(calls, HashMap::from(expected));
}

#[tokio::test]
async fn an_invalidation_of_few_dependants_is_one_script() {
    let mut measured = Measured::start().await;
    let (store, queue) = measured.redis.both(&random_namespace()).expect("both");
    compute_many(&store, 0..100, |_| vec![direct("a")]).await;
    store.invalidate(change(["b"])).await.expect("the script is known from now on");
    measured.reset().await;
    assert_eq!(store.invalidate(change(["a"])).await.expect("invalidate").marked, 100);
    let commands = measured.commands().await;
    assert_eq!(commands["evalsha"], 1);
    assert_eq!(commands["publish"], 1, "one notifier a script, however many jobs");
    assert_eq!(queue.counts().await.expect("counts").recompute, 100);
}

#[tokio::test]
async fn ten_thousand_dependants_go_stale_in_short_scripts() {
    let mut measured = Measured::start().await;
    let (store, queue) = measured.redis.both(&random_namespace()).expect("both");
    compute_many(&store, 0..10_000, |_| vec![direct("a")]).await;
    // The benchmarks measure the time.
    measured.reset().await;
    assert_eq!(store.invalidate(change(["a"])).await.expect("invalidate").marked, 10_000);
    let calls = measured.commands().await["evalsha"];
    assert!((10..=50).contains(&calls), "neither one long script nor one for each: {calls}");
    assert_eq!(queue.counts().await.expect("counts").recompute, 10_000);
    assert_eq!(store.stats().await.expect("stats").stale, 10_000);
    // No mark of the announcement remains.
    let run = begin(&*store, id(5)).await;
    assert!(!run.begun.pending);
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_sent_again() {
    let mut measured = Measured::start().await;
    let (store, queue) = measured.redis.both(&random_namespace()).expect("both");
    compute(&*store, id(1), &[direct("a")]).await;
    let _: () = ask(&mut measured.probe, &[b"SCRIPT", b"FLUSH"]).await;
    compute(&*store, id(1), &[direct("a")]).await;
    let _: () = ask(&mut measured.probe, &[b"SCRIPT", b"FLUSH"]).await;
    queue.enqueue(&[NewJob::now(id(1), Lane::Recompute)]).await.expect("enqueue");
    let reserve = Reserve::new(Lane::Recompute, 10, Duration::from_secs(9));
    assert_eq!(queue.reserve(reserve).await.expect("reserve").jobs.len(), 1);
}

#[tokio::test]
async fn clones_share_one_connection() {
    let mut measured = Measured::start().await;
    let before: Vec<String> =
        ask::<String>(&mut measured.probe, &[b"CLIENT", b"LIST"]).await.lines().map(str::to_owned).collect();
    let clone = measured.redis.clone();
    for _ in 0..5 {
        let (store, queue) = clone.both(&random_namespace()).expect("both");
        let tasks: Vec<_> = (0..20)
            .map(|number| {
                let store = store.clone();
                let queue = queue.clone();
                tokio::spawn(async move {
                    compute(&*store, id(number), &[direct("a")]).await;
                    queue.counts().await.expect("counts");
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("it works");
        }
    }
    until("no connection is left over", async || {
        ask::<String>(&mut measured.probe, &[b"CLIENT", b"LIST"]).await.lines().count() == before.len()
    })
    .await;
}

//! Helpers of the tests.

use std::{fmt::Display, sync::Arc, time::Duration};

use redis::{AsyncConnectionConfig, Client, FromRedisValue, aio::MultiplexedConnection};
use smache_core::{
    CacheStore, ChangedDependency, EntryId, FeedId, FeedStep, Freshness, Invalidation, Leadership, Namespace, SourceId,
    Token, UsedDependency,
};
use smache_redis::Redis;
pub(crate) use smache_testkit::steps::{LONG, Run, begin, child, direct, id, position, source, tag};
use smache_testkit::{servers::shared_redis_url, steps};
use tokio::time::{Instant, sleep};

/// The server that all tests share; each test has its namespace.
pub(crate) async fn shared() -> Redis {
    Redis::connect(shared_redis_url()).await.expect("the shared Redis")
}

/// A plain connection, to read keys directly. The client waits half a second for an answer by default, and a server
/// beside other work may take longer.
pub(crate) async fn raw(url: &str) -> MultiplexedConnection {
    let patience = Some(Duration::from_secs(60));
    let config = AsyncConnectionConfig::new().set_connection_timeout(patience).set_response_timeout(patience);
    let client = Client::open(url).expect("the URL of a test");
    client.get_multiplexed_async_connection_with_config(&config).await.expect("the Redis of a test")
}

/// Lets the deadline of every unfinished invalidation of a namespace pass.
pub(crate) async fn pass_deadlines(namespace: Namespace) {
    let deadlines = format!("{{{namespace}}}:md").into_bytes();
    let mut connection = raw(&shared_redis_url()).await;
    let marks: Vec<Vec<u8>> = ask(&mut connection, &[b"ZRANGE", &deadlines, b"0", b"-1"]).await;
    for mark in marks {
        let _: u64 = ask(&mut connection, &[b"ZADD", &deadlines, b"XX", b"1", &mark]).await;
    }
}

pub(crate) async fn ask<T: FromRedisValue>(connection: &mut MultiplexedConnection, words: &[&[u8]]) -> T {
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(*word);
    }
    command.query_async(connection).await.expect("a command of a test")
}

/// Waits for a condition, and fails if it does not come soon.
pub(crate) async fn until(what: &str, mut happens: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !happens().await {
        assert!(Instant::now() < deadline, "it never happens that {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn feed() -> FeedId {
    FeedId::new("feed").expect("a good name")
}

/// Computes an entry without a source; nothing changes meanwhile.
pub(crate) async fn compute(store: &dyn CacheStore, id: EntryId, used: &[UsedDependency]) {
    steps::compute(store, id, "value", used).await;
}

pub(crate) async fn compute_of(store: &dyn CacheStore, id: EntryId, used: &[UsedDependency], sources: &[SourceId]) {
    steps::compute_of(store, id, "value", used, sources).await;
}

/// Computes many entries, some at a time.
pub(crate) async fn compute_many(
    store: &Arc<dyn CacheStore>,
    numbers: std::ops::Range<u32>,
    used: impl Fn(u32) -> Vec<UsedDependency>,
) {
    let all: Vec<_> = numbers.map(|number| (id(number), used(number))).collect();
    let tasks = all.chunks(all.len().div_ceil(32).max(1)).map(|some| {
        let store = store.clone();
        let some = some.to_vec();
        tokio::spawn(async move {
            for (id, used) in some {
                compute(&*store, id, &used).await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("entries are computed");
    }
}

pub(crate) async fn freshness(store: &dyn CacheStore, id: EntryId) -> Option<Freshness> {
    steps::look(store, id).await.map(|seen| seen.freshness)
}

pub(crate) fn changed(names: impl IntoIterator<Item = impl Display>) -> Vec<ChangedDependency> {
    names.into_iter().map(|name| ChangedDependency { dependency: tag(name), cause: "changed".into() }).collect()
}

pub(crate) fn change(names: impl IntoIterator<Item = impl Display>) -> Invalidation {
    Invalidation { changed: changed(names), ..Invalidation::default() }
}

/// A step of the feed's leader, which covers one source.
pub(crate) async fn step(store: &dyn CacheStore, of: &SourceId, number: u64) -> FeedStep {
    let lead = store.lead(&feed(), Token::from_bytes([1; 16]), LONG).await.expect("lead");
    let Leadership::Leader { fence } = lead else { panic!("another process leads") };
    let incarnation = store.positions(&[]).await.expect("positions").incarnation;
    FeedStep {
        feed: feed(),
        fence,
        leadership: LONG,
        incarnation,
        positions: vec![(of.clone(), position(number))],
        valid_for: None,
        deadline: None,
        caught_up: false,
    }
}

//! Helpers of the tests.

use std::{fmt::Display, sync::Arc, time::Duration};

use redis::{Client, FromRedisValue, aio::MultiplexedConnection};
use smache_core::{
    Begin, BeginOutcome, Begun, CacheStore, ChangedDependency, Commit, CommitOutcome, Dependency, EntryId, FeedId,
    FeedStep, Freshness, FunctionKey, Invalidation, Leadership, OnConflict, Position, SourceId, Token, UsedDependency,
    Via,
};
use smache_redis::Redis;
use smache_testkit::servers::shared_redis_url;
use tokio::time::{Instant, sleep};

pub(crate) const LONG: Duration = Duration::from_secs(600);

/// The server that all tests share; each test has its namespace.
pub(crate) async fn shared() -> Redis {
    Redis::connect(shared_redis_url()).await.expect("the shared Redis")
}

/// A plain connection, to read keys directly.
pub(crate) async fn raw(url: &str) -> MultiplexedConnection {
    let client = Client::open(url).expect("the URL of a test");
    client.get_multiplexed_async_connection().await.expect("the Redis of a test")
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

pub(crate) fn id(number: u32) -> EntryId {
    let mut call = [0xA5; 16];
    call[..4].copy_from_slice(&number.to_be_bytes());
    EntryId::new(FunctionKey::from_bytes([7; 8]), call)
}

pub(crate) fn tag(name: impl Display) -> Dependency {
    Dependency::tag(&name.to_string())
}

pub(crate) fn direct(name: impl Display) -> UsedDependency {
    UsedDependency { dependency: tag(name), via: Via::Direct }
}

pub(crate) fn child(name: impl Display) -> UsedDependency {
    UsedDependency { dependency: tag(name), via: Via::Child }
}

pub(crate) fn source(name: &str) -> SourceId {
    SourceId::new(name).expect("a good name")
}

pub(crate) fn feed() -> FeedId {
    FeedId::new("feed").expect("a good name")
}

pub(crate) fn position(number: u64) -> Position {
    Position::new("the history", number.to_be_bytes(), format!("token {number}"))
}

pub(crate) struct Run {
    pub(crate) id: EntryId,
    pub(crate) token: Token,
    pub(crate) begun: Box<Begun>,
}

pub(crate) async fn begin(store: &dyn CacheStore, id: EntryId) -> Run {
    let token = Token::random();
    match store.begin(Begin { id, token, lease: LONG }).await.expect("begin") {
        BeginOutcome::Begun(begun) => Run { id, token, begun },
        BeginOutcome::Busy { .. } => panic!("another run computes {id}"),
    }
}

impl Run {
    pub(crate) fn value(&self, value: &str, used: &[UsedDependency], sources: &[SourceId]) -> Commit {
        Commit {
            id: self.id,
            token: self.token,
            start_revision: self.begun.start_revision,
            version: self.begun.start_revision,
            on_conflict: OnConflict::StoreStale,
            incarnation: self.begun.incarnation.clone(),
            epochs: self.begun.validity.epochs(sources),
            call: b"call".to_vec().into(),
            value: value.to_owned().into_bytes().into(),
            meta: b"meta".to_vec().into(),
            used: used.to_vec(),
            ttl: None,
            not_after: None,
            tainted: false,
            lazy: false,
            conflict_delay: Duration::ZERO,
        }
    }
}

/// Computes an entry without a source; nothing changes meanwhile.
pub(crate) async fn compute(store: &dyn CacheStore, id: EntryId, used: &[UsedDependency]) {
    compute_of(store, id, used, &[]).await;
}

pub(crate) async fn compute_of(store: &dyn CacheStore, id: EntryId, used: &[UsedDependency], sources: &[SourceId]) {
    let run = begin(store, id).await;
    let outcome = store.commit(run.value("value", used, sources)).await.expect("commit");
    assert!(matches!(outcome, CommitOutcome::Fresh { .. }), "{outcome:?}");
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
    let lookup = store.lookup(&[id]).await.expect("lookup");
    lookup.entries[0].as_ref().map(|entry| lookup.validity.judge(entry, lookup.now, &lookup.incarnation))
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

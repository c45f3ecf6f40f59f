//! The short steps that the cases are written in, for a backend's own tests too.

use std::{
    fmt::Display,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use smache_core::{
    Begin, BeginOutcome, Begun, CacheStore, ChangedDependency, Commit, CommitOutcome, Dependency, EntryId, FeedId,
    FeedStep, Freshness, FunctionKey, Invalidated, Invalidation, Leadership, OnConflict, Page, Position, SourceId,
    Staleness, StoredEntry, Timestamp, Token, UsedDependency, Via,
};

/// Holds whatever the machine does meanwhile.
pub const LONG: Duration = Duration::from_secs(600);

/// Is over after [`PAUSE`].
pub const SHORT: Duration = Duration::from_millis(60);

/// Longer than [`SHORT`].
pub const PAUSE: Duration = Duration::from_millis(120);

/// Longer than the grace after which maintenance reaps a lapsed run.
pub(crate) const GRACE: Duration = Duration::from_millis(1_400);

pub fn id(number: u32) -> EntryId {
    let mut call = [0x5A; 16];
    call[..4].copy_from_slice(&number.to_be_bytes());
    EntryId::new(FunctionKey::from_bytes([7; 8]), call)
}

pub(crate) fn ids(numbers: std::ops::Range<u32>) -> Vec<EntryId> {
    numbers.map(id).collect()
}

pub fn tag(name: impl Display) -> Dependency {
    Dependency::tag(&name.to_string())
}

pub fn direct(name: impl Display) -> UsedDependency {
    UsedDependency { dependency: tag(name), via: Via::Direct }
}

pub fn child(name: impl Display) -> UsedDependency {
    UsedDependency { dependency: tag(name), via: Via::Child }
}

/// The dependency that every run checks: an invalidation of the entry itself.
pub(crate) fn guard(id: EntryId) -> UsedDependency {
    UsedDependency { dependency: Dependency::entry(&id), via: Via::Guard }
}

pub fn source(name: &str) -> SourceId {
    SourceId::new(name).expect("the cases use good names")
}

pub fn position(number: u64) -> Position {
    position_in("the history", number)
}

/// A place in a history of that name.
pub fn position_in(history: &str, number: u64) -> Position {
    Position::new(history, number.to_be_bytes(), format!("token {number}"))
}

/// A run that holds its lease.
#[derive(Debug, Clone)]
pub struct Run {
    pub id: EntryId,
    pub token: Token,
    pub begun: Box<Begun>,
}

pub(crate) async fn try_begin(store: &dyn CacheStore, id: EntryId, lease: Duration) -> Result<Run, Duration> {
    let token = Token::random();
    match store.begin(Begin { id, token, lease }).await.expect("begin") {
        BeginOutcome::Begun(begun) => Ok(Run { id, token, begun }),
        BeginOutcome::Busy { remaining } => Err(remaining),
    }
}

pub async fn begin_for(store: &dyn CacheStore, id: EntryId, lease: Duration) -> Run {
    match try_begin(store, id, lease).await {
        Ok(run) => run,
        Err(remaining) => panic!("no run computes {id}, but the store is busy for {remaining:?}"),
    }
}

pub async fn begin(store: &dyn CacheStore, id: EntryId) -> Run {
    begin_for(store, id, LONG).await
}

impl Run {
    /// A commit of a value that was made of tags, without a source.
    pub fn value(&self, value: &str, used: &[UsedDependency]) -> Commit {
        self.value_of(value, used, &[])
    }

    /// A commit of a value that was made of sources.
    pub fn value_of(&self, value: &str, used: &[UsedDependency], sources: &[SourceId]) -> Commit {
        Commit {
            id: self.id,
            token: self.token,
            start_revision: self.begun.start_revision,
            version: self.begun.start_revision,
            on_conflict: OnConflict::StoreStale,
            incarnation: self.begun.incarnation.clone(),
            epochs: self.begun.validity.epochs(sources),
            call: format!("call of {}", self.id).into_bytes().into(),
            value: value.to_owned().into_bytes().into(),
            meta: format!("meta of {value}").into_bytes().into(),
            used: used.to_vec(),
            ttl: None,
            not_after: None,
            tainted: false,
            lazy: false,
            conflict_delay: Duration::ZERO,
        }
    }
}

pub(crate) async fn commit(store: &dyn CacheStore, commit: Commit) -> CommitOutcome {
    store.commit(commit).await.expect("commit")
}

#[track_caller]
pub(crate) fn assert_fresh(outcome: &CommitOutcome) {
    assert!(matches!(outcome, CommitOutcome::Fresh { .. }), "stored as {outcome:?} instead of fresh");
}

#[track_caller]
pub(crate) fn assert_conflicted(outcome: &CommitOutcome, dependencies: &[Dependency]) {
    match outcome {
        CommitOutcome::Conflicted { dependencies: named, .. } => {
            assert_eq!(sorted(named), sorted(dependencies), "the dependencies that are named");
        }
        outcome => panic!("stored as {outcome:?} instead of conflicted"),
    }
}

/// Computes an entry from begin to commit; nothing changes meanwhile.
pub async fn compute(store: &dyn CacheStore, id: EntryId, value: &str, used: &[UsedDependency]) {
    compute_of(store, id, value, used, &[]).await;
}

/// Computes an entry that uses sources.
pub async fn compute_of(
    store: &dyn CacheStore,
    id: EntryId,
    value: &str,
    used: &[UsedDependency],
    sources: &[SourceId],
) {
    let run = begin(store, id).await;
    assert_fresh(&commit(store, run.value_of(value, used, sources)).await);
}

/// Computes many entries that use the same, some at a time.
pub(crate) async fn compute_many(store: &Arc<dyn CacheStore>, ids: &[EntryId], used: &[UsedDependency]) {
    let tasks = ids.chunks(ids.len().div_ceil(16).max(1)).map(|ids| {
        let store = Arc::clone(store);
        let ids = ids.to_vec();
        let used = used.to_vec();
        async move {
            for id in ids {
                compute(&*store, id, "one of many", &used).await;
            }
        }
    });
    all(tasks).await;
}

/// Runs each future on its own task, and returns their outputs in order.
pub(crate) async fn all<F>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let tasks: Vec<_> = futures.into_iter().map(tokio::spawn).collect();
    let mut outputs = Vec::new();
    for task in tasks {
        outputs.push(task.await.expect("a task of the case"));
    }
    outputs
}

/// Polls a future so many times at most, and drops it then.
pub(crate) async fn polled<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|context| match left {
        0 => Poll::Ready(None),
        _ => {
            left -= 1;
            future.as_mut().poll(context).map(Some)
        }
    })
    .await
}

/// An entry as a reader sees it.
#[derive(Debug)]
pub struct Seen {
    pub entry: StoredEntry,
    pub freshness: Freshness,
    pub now: Timestamp,
}

impl Seen {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.entry.value).expect("the cases store text")
    }

    pub fn is_fresh(&self) -> bool {
        self.freshness.is_fresh()
    }
}

pub async fn look(store: &dyn CacheStore, id: EntryId) -> Option<Seen> {
    let mut lookup = store.lookup(&[id]).await.expect("lookup");
    assert_eq!(lookup.entries.len(), 1, "one element an id");
    let entry = lookup.entries.remove(0)?;
    let freshness = lookup.validity.judge(&entry, lookup.now, &lookup.incarnation);
    Some(Seen { entry, freshness, now: lookup.now })
}

/// An entry that is there.
pub(crate) async fn see(store: &dyn CacheStore, id: EntryId) -> Seen {
    look(store, id).await.unwrap_or_else(|| panic!("there is no entry {id}"))
}

pub(crate) async fn is_fresh(store: &dyn CacheStore, id: EntryId) -> bool {
    see(store, id).await.is_fresh()
}

pub(crate) async fn staleness(store: &dyn CacheStore, id: EntryId) -> Staleness {
    see(store, id).await.entry.staleness
}

pub fn change_of(dependency: Dependency) -> ChangedDependency {
    ChangedDependency { dependency, cause: format!("{dependency} changed").into() }
}

pub fn changes_of(names: &[&str]) -> Invalidation {
    Invalidation { changed: names.iter().map(|name| change_of(tag(name))).collect(), ..Invalidation::default() }
}

/// Something changes: a tag.
pub(crate) async fn change(store: &dyn CacheStore, name: impl Display) -> Invalidated {
    let invalidation = Invalidation { changed: vec![change_of(tag(name))], ..Invalidation::default() };
    store.invalidate(invalidation).await.expect("invalidate")
}

/// All stale entries that the reconciler finds, page by page.
pub(crate) async fn stale(store: &dyn CacheStore, limit: usize) -> Vec<(EntryId, Timestamp)> {
    let mut page = Page::first(limit);
    let mut entries = Vec::new();
    loop {
        let scanned = store.stale(page).await.expect("stale");
        entries.extend(scanned.entries);
        match scanned.next {
            Some(next) => page = Page { cursor: Some(next), limit },
            None => return entries,
        }
    }
}

/// Maintenance until there is no more to do. Returns the entries that it reported.
pub(crate) async fn maintain(store: &dyn CacheStore) -> Vec<EntryId> {
    let mut jobs = Vec::new();
    for _ in 0..10_000 {
        let maintained = store.maintain(100).await.expect("maintain");
        jobs.extend(maintained.jobs);
        if !maintained.more {
            return jobs;
        }
    }
    panic!("maintenance never ends: it always says that there is more to do");
}

/// A leader of a feed.
pub(crate) struct Leader {
    pub(crate) feed: FeedId,
    pub(crate) fence: u64,
}

pub(crate) fn feed(name: &str) -> FeedId {
    FeedId::new(name).expect("the cases use good names")
}

pub(crate) async fn lead(store: &dyn CacheStore, name: &str, lease: Duration) -> Leader {
    let feed = feed(name);
    match store.lead(&feed, Token::random(), lease).await.expect("lead") {
        Leadership::Leader { fence } => Leader { feed, fence },
        Leadership::Follower { retry_after } => panic!("no process leads {feed}, but it is led for {retry_after:?}"),
    }
}

impl Leader {
    /// A step that moves some sources to a position and changes nothing else.
    pub(crate) async fn step(&self, store: &dyn CacheStore, sources: &[&str], number: u64) -> FeedStep {
        FeedStep {
            feed: self.feed.clone(),
            fence: self.fence,
            leadership: LONG,
            incarnation: store.positions(&[]).await.expect("positions").incarnation,
            positions: sources.iter().map(|name| (source(name), position(number))).collect(),
            valid_for: None,
            deadline: None,
            caught_up: false,
        }
    }
}

/// A feed that confirms sources: started and caught up at position 1, and valid.
pub(crate) async fn confirming(store: &dyn CacheStore, name: &str, sources: &[&str]) -> Leader {
    let leader = lead(store, name, LONG).await;
    store.restart(leader.step(store, sources, 1).await).await.expect("restart");
    let step = FeedStep { valid_for: Some(LONG), caught_up: true, ..leader.step(store, sources, 1).await };
    save(store, step).await;
    leader
}

/// Saves a step without a change.
pub(crate) async fn save(store: &dyn CacheStore, step: FeedStep) -> Invalidated {
    store.invalidate(Invalidation { step: Some(step), ..Invalidation::default() }).await.expect("a step of a feed")
}

/// The saved position of a source.
pub(crate) async fn saved(store: &dyn CacheStore, name: &str) -> Option<Position> {
    let mut positions = store.positions(&[source(name)]).await.expect("positions");
    assert_eq!(positions.positions.len(), 1, "one element a source");
    positions.positions.remove(0)
}

pub(crate) fn sorted<T: Clone + Ord>(items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    items.sort();
    items
}

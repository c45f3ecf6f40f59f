//! Many at once, with exact totals.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use smache_core::{CacheStore, Commit, CommitOutcome, Dependency, EntryId, UsedDependency, Via};

use crate::{StoreHarness, steps::*};

/// Beyond the contract: of many that begin the same entry at once, one does.
pub async fn one_of_many_runs_begins(harness: StoreHarness) {
    for round in 0..20 {
        let runs = all((0..8).map(|_| {
            let store = Arc::clone(harness.role());
            async move { try_begin(&*store, id(round), LONG).await }
        }))
        .await;
        let runs: Vec<Run> = runs.into_iter().filter_map(Result::ok).collect();
        assert_eq!(runs.len(), 1, "round {round}");
        assert_fresh(&commit(&**harness.role(), runs[0].value("one", &[])).await);
    }
}

/// Beyond the contract: of many that take over the same lapsed lease at once, one does, and every other is refused.
pub async fn one_of_many_takes_a_lapsed_lease(harness: StoreHarness) {
    let store = &**harness.role();
    let zombie = begin_for(store, id(1), SHORT).await;
    harness.advance(PAUSE).await;
    let outcomes = all((0..8).map(|number| {
        let store = Arc::clone(harness.role());
        async move {
            let run = try_begin(&*store, id(1), LONG).await.ok()?;
            Some(commit(&*store, run.value(&number.to_string(), &[direct("a")])).await)
        }
    }))
    .await;
    let began = outcomes.iter().flatten().count();
    assert!(began >= 1 && outcomes.iter().flatten().all(|outcome| matches!(outcome, CommitOutcome::Fresh { .. })));
    assert_eq!(commit(store, zombie.value("zombie", &[])).await, CommitOutcome::Lost);
    assert_ne!(see(store, id(1)).await.text(), "zombie");
}

/// Beyond the contract: every invalidation raises the revision, however many there are at once.
pub async fn revision_counts_every_invalidation(harness: StoreHarness) {
    const WRITERS: u64 = 8;
    let each = u64::from(harness.rounds(25));
    let before = harness.role().stats().await.expect("stats").revision;
    let revisions = all((0..WRITERS).map(|writer| {
        let store = Arc::clone(harness.role());
        async move {
            let mut revisions = Vec::new();
            for number in 0..each {
                revisions.push(change(&*store, (writer + number) % 5).await.revision);
            }
            assert!(revisions.is_sorted(), "the revision of one writer only grows: {revisions:?}");
            revisions
        }
    }))
    .await;
    let distinct: BTreeSet<u64> = revisions.into_iter().flatten().collect();
    assert_eq!(distinct.len() as u64, WRITERS * each, "each has its own revision");
    assert_eq!(harness.role().stats().await.expect("stats").revision, before + WRITERS * each);
}

/// The data of an application: numbers that only grow, and how far they were acknowledged.
struct Data {
    written: [AtomicU64; 3],
    acknowledged: [AtomicU64; 3],
    over: AtomicBool,
}

impl Data {
    fn new() -> Arc<Self> {
        Arc::new(Self { written: Default::default(), acknowledged: Default::default(), over: AtomicBool::new(false) })
    }

    fn read(&self, what: usize) -> u64 {
        self.written[what].load(Ordering::SeqCst)
    }

    /// Writes a number, invalidates, and only then calls it acknowledged.
    async fn write(&self, store: &dyn CacheStore, what: usize) {
        let number = self.written[what].fetch_add(1, Ordering::SeqCst) + 1;
        change(store, what).await;
        self.acknowledged[what].fetch_max(number, Ordering::SeqCst);
    }

    fn acknowledged(&self) -> [u64; 3] {
        [0, 1, 2].map(|what| self.acknowledged[what].load(Ordering::SeqCst))
    }
}

fn numbers(text: &str) -> Vec<u64> {
    text.split(' ').map(|number| number.parse().expect("a number")).collect()
}

/// Computes an entry of all numbers once, unless another run does.
async fn compute_numbers(store: &dyn CacheStore, data: &Data, id: EntryId) {
    let Ok(run) = try_begin(store, id, LONG).await else { return };
    let mut read = Vec::new();
    for what in 0..3 {
        read.push(data.read(what).to_string());
        tokio::task::yield_now().await;
    }
    commit(store, run.value(&read.join(" "), &[direct(0), direct(1), child(2)])).await;
}

/// Computes a parent from two entries, which it reads once each and takes only if they are fresh.
async fn compute_parent(store: &dyn CacheStore, id: EntryId, children: [EntryId; 2]) {
    let Ok(run) = try_begin(store, id, LONG).await else { return };
    let mut texts = Vec::new();
    let mut used = vec![child(0), child(1), child(2)];
    let mut tainted = false;
    for callee in children {
        used.push(UsedDependency { dependency: Dependency::entry(&callee), via: Via::Child });
        match look(store, callee).await {
            Some(seen) => {
                tainted |= !seen.is_fresh();
                texts.push(seen.text().to_owned());
            }
            None => return drop(store.remove(&id, Some(run.token)).await),
        }
        tokio::task::yield_now().await;
    }
    commit(store, Commit { tainted, ..run.value(&texts.join(" "), &used) }).await;
}

/// Beyond the contract: under any concurrent steps of writers, runs, maintenance and readers, a value that is read as
/// fresh reflects every change that was acknowledged before the read; and in the end one more run of each is fresh and
/// right.
pub async fn fresh_value_reflects_every_acknowledged_change(harness: StoreHarness) {
    let writes = u64::from(harness.rounds(60));
    let data = Data::new();
    let callees = [id(1), id(2)];
    let parent = id(3);
    let over = |data: &Data| data.over.load(Ordering::SeqCst);
    let mut runs = Vec::new();
    for worker in 0..4 {
        let store = Arc::clone(harness.role());
        let data = Arc::clone(&data);
        runs.push(tokio::spawn(async move {
            while !over(&data) {
                match worker % 2 {
                    0 => compute_numbers(&*store, &data, callees[worker / 2]).await,
                    _ => compute_parent(&*store, parent, callees).await,
                }
                tokio::task::yield_now().await;
            }
        }));
    }
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let store = Arc::clone(harness.role());
            let data = Arc::clone(&data);
            tokio::spawn(async move {
                let mut fresh = 0_u64;
                while !over(&data) {
                    let acknowledged = data.acknowledged();
                    for id in [callees[0], callees[1], parent] {
                        let Some(seen) = look(&*store, id).await.filter(Seen::is_fresh) else { continue };
                        for (place, number) in numbers(seen.text()).into_iter().enumerate() {
                            let least = acknowledged[place % 3];
                            assert!(number >= least, "{id} is fresh with {} after {acknowledged:?}", seen.text());
                        }
                        fresh += 1;
                    }
                    tokio::task::yield_now().await;
                }
                fresh
            })
        })
        .collect();
    let maintenance = tokio::spawn({
        let store = Arc::clone(harness.role());
        let data = Arc::clone(&data);
        async move {
            while !over(&data) {
                store.maintain(10).await.expect("maintain");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    });
    all((0..3).map(|what| {
        let store = Arc::clone(harness.role());
        let data = Arc::clone(&data);
        async move {
            for _ in 0..writes {
                data.write(&*store, what).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }))
    .await;
    data.over.store(true, Ordering::SeqCst);
    for task in runs.into_iter().chain([maintenance]) {
        task.await.expect("a task of the case");
    }
    for reader in readers {
        reader.await.expect("a reader");
    }

    let store = &**harness.role();
    for callee in callees {
        compute_numbers(store, &data, callee).await;
    }
    compute_parent(store, parent, callees).await;
    for (id, count) in [(callees[0], 3), (callees[1], 3), (parent, 6)] {
        let seen = see(store, id).await;
        assert_eq!((numbers(seen.text()), seen.is_fresh()), (vec![writes; count], true));
    }
}

/// Beyond the contract: the first commit of an entry beside the first change of what it depends on. No step of the one
/// reads anything that was there before the other, and still the value from before the change is not fresh after it.
pub async fn first_commit_races_with_the_first_change(harness: StoreHarness) {
    const PAIRS: u32 = 4;
    for round in 0..harness.rounds(60) {
        all((0..PAIRS).map(|pair| {
            let store = Arc::clone(harness.role());
            async move {
                let entry = id(PAIRS * round + pair);
                let name = format!("new {round} {pair}");
                let run = begin(&*store, entry).await;
                let changing = tokio::spawn({
                    let (store, name) = (Arc::clone(&store), name.clone());
                    async move { change(&*store, name).await }
                });
                let used = if pair % 2 == 0 { direct(&name) } else { child(&name) };
                let outcome = commit(&*store, run.value("from before", &[used])).await;
                let changed = changing.await.expect("the change");
                let seen = see(&*store, entry).await;
                assert!(
                    !seen.is_fresh(),
                    "round {round}: stored as {outcome:?} beside {changed:?}, and fresh after both"
                );
            }
        }))
        .await;
    }
}

/// Beyond the contract: maintenance that removes an expired entry does not take the edges of its successor.
pub async fn maintenance_never_removes_an_edge_of_a_new_entry(harness: StoreHarness) {
    let store = &**harness.role();
    for round in 0..harness.rounds(40) {
        let run = begin(store, id(1)).await;
        commit(store, Commit { ttl: Some(Duration::ZERO), ..run.value("expired", &[direct("a")]) }).await;
        let maintenance = tokio::spawn({
            let store = Arc::clone(harness.role());
            async move { store.maintain(10).await.expect("maintain") }
        });
        compute(store, id(1), "new", &[direct("a")]).await;
        maintenance.await.expect("maintenance");
        assert_eq!(see(store, id(1)).await.text(), "new", "round {round}");
        assert_eq!(change(store, "a").await.marked, 1, "round {round}");
        assert!(!is_fresh(store, id(1)).await, "round {round}");
    }
}

/// Beyond the contract: runs of the same entry that race with its removal leave it whole or leave nothing.
pub async fn removal_races_with_commits(harness: StoreHarness) {
    let store = &**harness.role();
    for round in 0..harness.rounds(40) {
        let run = begin(store, id(1)).await;
        let removal = tokio::spawn({
            let store = Arc::clone(harness.role());
            async move { store.remove(&id(1), None).await.expect("remove") }
        });
        let outcome = commit(store, run.value("one", &[direct("a")])).await;
        assert!(removal.await.expect("the removal"), "round {round}: the run or its entry was there");
        assert!(matches!(outcome, CommitOutcome::Fresh { .. } | CommitOutcome::Lost), "round {round}: {outcome:?}");
        assert!(look(store, id(1)).await.is_none(), "round {round}");
        assert_eq!(change(store, "a").await.marked, 0, "round {round}");
    }
}

/// Beyond the contract: a step whose future is dropped half-way happened or did not, and can be done again.
pub async fn dropped_steps_happen_as_a_whole(harness: StoreHarness) {
    let store = harness.role();
    let rounds = harness.rounds(60);
    for round in 0..rounds {
        let patience = Duration::from_micros(2_400) * round / rounds;
        let entry = id(round);
        let name = format!("tag {round}");
        let run = begin(&**store, entry).await;
        let value = run.value("one", &[direct(&name), direct("all")]);
        let _ = tokio::time::timeout(patience, store.commit(value.clone())).await;
        match commit(&**store, value).await {
            CommitOutcome::Fresh { .. } => {}
            CommitOutcome::Lost => assert_eq!(see(&**store, entry).await.text(), "one"),
            outcome => panic!("round {round}: nothing changed, but {outcome:?}"),
        }
        assert!(is_fresh(&**store, entry).await);
        let _ = tokio::time::timeout(patience, store.invalidate(changes_of(&[&name]))).await;
        assert_eq!(change(&**store, &name).await.marked, 1, "round {round}");
        assert!(!is_fresh(&**store, entry).await);
        let _ = tokio::time::timeout(patience, store.remove(&entry, None)).await;
        store.remove(&entry, None).await.expect("remove");
        assert!(look(&**store, entry).await.is_none());
        assert_eq!(change(&**store, &name).await.marked, 0, "round {round}");
    }
    assert_eq!(change(&**store, "all").await.marked, 0);
    let stats = store.stats().await.expect("stats");
    assert_eq!((stats.entries, stats.stale, stats.running), (0, 0, 0));
}

//! Random sequences, compared with the memory backend.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc, time::Duration};

use smache_core::{
    Abort, Backend, CacheStore, Commit, CommitOutcome, Dependency, EntryId, Freshness, Invalidation, RecordWaits,
    SourceId, UsedDependency, Via, WaitingRun,
};
use smache_memory::Memory;

use crate::{StoreHarness, chance::Chance, harness::random_namespace, steps::*};

const IDS: u32 = 5;
const TAGS: u32 = 4;
const SOURCES: [&str; 2] = ["users", "orders"];

/// One store and the runs that are under way in it.
struct Side {
    store: Arc<dyn CacheStore>,
    runs: BTreeMap<u32, Run>,
    /// The revision at its start: only the distance counts.
    start: u64,
}

/// A step on both stores.
#[derive(Debug)]
enum Operation {
    Begin(u32),
    Commit { run: u32, used: Vec<UsedDependency>, sources: Vec<SourceId>, tainted: bool, lazy: bool },
    Abort { run: u32, failed: bool },
    RecordWaits { run: u32, child: u32, ends: bool },
    Remove { entry: u32, as_run: bool },
    Invalidate(Invalidation),
    NewEpoch,
    Attach(SourceId),
    Maintain,
}

impl Operation {
    fn random(chance: &mut Chance) -> Self {
        let entry = chance.below(IDS);
        match chance.below(100) {
            0..25 => Self::Begin(entry),
            25..33 => Self::RecordWaits { run: entry, child: chance.below(IDS), ends: chance.below(4) == 0 },
            33..54 => {
                let mut used: Vec<UsedDependency> = chance.some(TAGS).into_iter().map(direct).collect();
                used.extend(chance.some(TAGS).into_iter().map(child));
                used.push(guard(id(entry)));
                if chance.below(3) == 0 {
                    let callee = id(chance.below(IDS));
                    used.push(UsedDependency { dependency: Dependency::entry(&callee), via: Via::Child });
                }
                let sources = SOURCES.iter().filter(|_| chance.below(4) == 0).map(|name| source(name)).collect();
                Self::Commit { run: entry, used, sources, tainted: chance.below(12) == 0, lazy: chance.below(6) == 0 }
            }
            54..58 => Self::Abort { run: entry, failed: chance.below(2) == 0 },
            58..63 => Self::Remove { entry, as_run: chance.below(2) == 0 },
            63..86 => {
                let mut changed: Vec<_> = chance.some(TAGS).into_iter().map(|name| change_of(tag(name))).collect();
                let entries: Vec<EntryId> = if chance.below(4) == 0 { vec![id(entry)] } else { Vec::new() };
                changed.extend(entries.iter().map(|id| change_of(Dependency::entry(id))));
                Self::Invalidate(Invalidation { changed, entries, step: None })
            }
            86..88 => Self::NewEpoch,
            88..92 => Self::Attach(source(SOURCES[chance.below(2) as usize])),
            _ => Self::Maintain,
        }
    }
}

impl Side {
    async fn new(store: Arc<dyn CacheStore>) -> Self {
        let start = store.stats().await.expect("stats").revision;
        Self { store, runs: BTreeMap::new(), start }
    }

    /// Does it and describes the outcome, without its random parts.
    async fn apply(&mut self, operation: &Operation) -> String {
        let store = &*self.store;
        match operation {
            Operation::Begin(entry) => match try_begin(store, id(*entry), LONG).await {
                Ok(run) => {
                    let begun = &run.begun;
                    let value = begun.entry.as_ref().map(|entry| entry.value.clone());
                    let outcome = said(&(begun.start_revision - self.start, value, begun.conflicts, begun.pending));
                    self.runs.insert(*entry, run);
                    outcome
                }
                Err(_) => "busy".to_owned(),
            },
            Operation::Commit { run, used, sources, tainted, lazy } => {
                let Some(run) = self.runs.get(run) else { return String::new() };
                let value = run.value_of(&format!("at {}", run.begun.start_revision - self.start), used, sources);
                match commit(store, Commit { tainted: *tainted, lazy: *lazy, ..value }).await {
                    CommitOutcome::Fresh { .. } => "fresh".to_owned(),
                    CommitOutcome::Conflicted { dependencies, .. } => said(&sorted(&dependencies)),
                    outcome => said(&outcome),
                }
            }
            Operation::Abort { run, failed } => {
                let Some(run) = self.runs.get(run) else { return String::new() };
                let failure = failed.then(|| "failed".to_owned());
                said(
                    &store
                        .abort(Abort { id: run.id, token: run.token, failure, delay: Duration::ZERO })
                        .await
                        .expect("abort"),
                )
            }
            Operation::RecordWaits { run, child, ends } => {
                let Some(run) = self.runs.get(run) else { return String::new() };
                let runs = vec![WaitingRun { id: run.id, token: run.token, child: id(*child) }];
                let lease = if *ends { Duration::ZERO } else { LONG };
                let waits = store.record_waits(RecordWaits { runs, lease, child: id(*child) }).await.expect("wait");
                said(&sorted(&waits))
            }
            Operation::Remove { entry, as_run } => {
                let token = if *as_run { self.runs.get(entry).map(|run| run.token) } else { None };
                said(&store.remove(&id(*entry), token).await.expect("remove"))
            }
            Operation::Invalidate(invalidation) => {
                let invalidated = store.invalidate(invalidation.clone()).await.expect("invalidate");
                said(&(invalidated.revision - self.start, distinct_marks(invalidation, invalidated.marked)))
            }
            Operation::NewEpoch => {
                store.new_epoch().await.expect("new epoch");
                String::new()
            }
            Operation::Attach(source) => {
                store.attach(std::slice::from_ref(source)).await.expect("attach");
                String::new()
            }
            Operation::Maintain => {
                maintain(store).await;
                let mut listed: Vec<EntryId> = stale(store, 3).await.into_iter().map(|(id, _)| id).collect();
                listed.sort();
                let stats = store.stats().await.expect("stats");
                said(&(
                    listed,
                    stats.entries,
                    stats.stale,
                    stats.running,
                    stats.revision - self.start,
                    stats.invalidations,
                ))
            }
        }
    }

    /// The state of an entry, as a look-up and `inspect` show it.
    async fn shows(&self, entry: u32) -> String {
        let Some(seen) = look(&*self.store, id(entry)).await else { return "absent".to_owned() };
        let record = self.store.inspect(&id(entry)).await.expect("inspect").expect("a record");
        let freshness = match seen.freshness {
            Freshness::Fresh { .. } => "fresh",
            Freshness::Stale { .. } => "stale",
            _ => "unconfirmed",
        };
        let mut used: Vec<String> = record.used.iter().map(said).collect();
        used.sort();
        let told =
            (record.lazy, record.conflicts, record.failures, record.last_failure.map(|failure| failure.message), used);
        said(&(seen.text(), freshness, seen.entry.staleness, seen.entry.version - self.start, told))
    }
}

/// An entry that several changes of one invalidation affect may be counted once, or once per change.
fn distinct_marks(invalidation: &Invalidation, marked: u64) -> Option<u64> {
    (invalidation.changed.len() + invalidation.entries.len() <= 1).then_some(marked)
}

fn said(what: &impl Debug) -> String {
    format!("{what:?}")
}

/// Beyond the contract: after any sequence of steps the answers and entries are those of the memory backend.
pub async fn random_steps_agree_with_the_memory_store(harness: StoreHarness) {
    let reference = Memory::new().store(&random_namespace()).expect("memory has stores");
    let mut chance = Chance::new();
    let mut tested = Side::new(Arc::clone(harness.role())).await;
    let mut reference = Side::new(reference).await;
    let mut history = Vec::new();
    for _ in 0..harness.rounds(500) {
        let operation = Operation::random(&mut chance);
        let got = tested.apply(&operation).await;
        let expected = reference.apply(&operation).await;
        history.push(format!("{operation:?} gave {expected}"));
        let last = || history.iter().rev().take(25).rev().cloned().collect::<Vec<_>>().join("\n");
        assert_eq!(got, expected, "left: the tested store, right: memory; {chance:?}, after\n{}", last());
        for entry in 0..IDS {
            let got = tested.shows(entry).await;
            let expected = reference.shows(entry).await;
            assert_eq!(
                got,
                expected,
                "entry {entry}; left: the tested store, right: memory; {chance:?}, after\n{}",
                last()
            );
        }
    }
}

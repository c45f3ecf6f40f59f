//! The published contract on three stores of different kinds.

use std::sync::Arc;

use smache_core::ManualClock;
use smache_kv::{KeyValue, KvBackend, Limits};
use smache_testkit::{BackendHarness, KeyValueHarness, StoreHarness, yielding::Yielding};

use crate::{
    log_store::{Durability, LogStore},
    mvcc::Mvcc,
    paused::Paused,
    redb_store::Redb,
    tree::{Conflicts, Tree},
};

/// A tree with a manual clock.
fn on_tree(conflicts: Conflicts, page: usize) -> BackendHarness {
    on_limited_tree(conflicts, page, Limits::default())
}

fn on_limited_tree(conflicts: Conflicts, page: usize, limits: Limits) -> BackendHarness {
    let clock = ManualClock::default();
    let tree = Tree::new(clock.clone(), conflicts);
    tree.limit(limits);
    let backend = KvBackend::builder(tree.clone()).page(page).build();
    BackendHarness::of(backend).with_clock(clock).with_new_incarnation(move || {
        tree.become_another();
        std::future::ready(())
    })
}

async fn tree_with_locks() -> BackendHarness {
    on_tree(Conflicts::Never, 1_000)
}

async fn tree_with_conflicts() -> BackendHarness {
    on_tree(Conflicts::EveryThird, 1_000)
}

async fn tree_without_locks() -> BackendHarness {
    on_tree(Conflicts::Real, 1_000)
}

async fn tree_in_small_pages() -> BackendHarness {
    on_tree(Conflicts::Never, 2)
}

/// Few writes in a batch; one above the limits is a panic. The largest value of a case has a mebibyte, and a little more.
async fn tree_in_small_batches() -> BackendHarness {
    let limits = Limits::default().batch_writes(256).batch_bytes(4 << 20).value_bytes(2 << 20);
    on_limited_tree(Conflicts::EveryThird, 1_000, limits)
}

/// An optimistic store whose transactions take turns at every call.
async fn mvcc() -> BackendHarness {
    let clock = ManualClock::default();
    let store = Yielding::new(Mvcc::new(clock.clone()));
    BackendHarness::of(KvBackend::builder(store).page(100).build()).with_clock(clock)
}

/// Another store with a manual clock.
fn on(store: impl KeyValue, clock: ManualClock) -> BackendHarness {
    BackendHarness::of(KvBackend::new(store)).with_clock(clock)
}

/// The example's store, in a new folder.
async fn log() -> BackendHarness {
    let clock = ManualClock::default();
    let folder = tempfile::tempdir().expect("a folder");
    let store = LogStore::open(folder.path().join("log"), Durability::System, clock.clone()).expect("a file");
    on(store, clock).with_guard(folder)
}

/// redb, without writes to the disk.
async fn redb() -> BackendHarness {
    let clock = ManualClock::default();
    on(Redb::in_memory(clock.clone()).expect("memory"), clock)
}

/// A store of a hundred entries.
fn small(conflicts: Conflicts) -> BackendHarness {
    let clock = ManualClock::default();
    let tree = Tree::new(clock.clone(), conflicts);
    BackendHarness::of(KvBackend::builder(tree).capacity(100).build()).with_clock(clock).with_capacity(100)
}

async fn small_alone() -> StoreHarness {
    small(Conflicts::Real).store()
}

async fn small_joined() -> StoreHarness {
    small(Conflicts::EveryThird).joined().map(|both| both.store)
}

mod alone_above_its_capacity {
    use super::small_alone;

    smache_testkit::eviction_suite!(small_alone);
}

mod joined_above_its_capacity {
    use super::small_joined;

    smache_testkit::eviction_suite!(small_joined);
}

/// The suites on a factory, in a module of a name.
macro_rules! suites {
    ($($name:ident: $factory:ident $(, $incarnation:ident)?;)*) => {$(
        mod $name {
            use super::$factory;

            smache_testkit::backend_suite!($factory $(, $incarnation)?);
        }
    )*};
}

suites! {
    with_locks: tree_with_locks, incarnation;
    with_conflicts: tree_with_conflicts, incarnation;
    without_locks: tree_without_locks;
    in_small_pages: tree_in_small_pages;
    in_small_batches: tree_in_small_batches;
    taking_turns: mvcc;
    on_a_log: log;
    on_redb: redb;
}

/// The interface itself.
mod key_value {
    use super::*;

    fn harness(store: impl KeyValue, clock: ManualClock) -> KeyValueHarness {
        KeyValueHarness::new(Arc::new(store)).with_clock(clock)
    }

    fn tree(conflicts: Conflicts) -> KeyValueHarness {
        let clock = ManualClock::default();
        let tree = Tree::new(clock.clone(), conflicts);
        harness(tree.clone(), clock).with_new_incarnation(move || {
            tree.become_another();
            std::future::ready(())
        })
    }

    fn mvcc() -> KeyValueHarness {
        let clock = ManualClock::default();
        let store = Mvcc::new(clock.clone());
        harness(store.clone(), clock).with_new_incarnation(move || {
            store.become_another();
            std::future::ready(())
        })
    }

    /// Each store is one factory.
    macro_rules! on {
        ($name:ident, $harness:expr $(, $lives:ident)?) => {
            mod $name {
                use super::*;

                async fn factory() -> KeyValueHarness {
                    $harness
                }

                smache_testkit::key_value_suite!(factory);
                $(smache_testkit::$lives!(factory);)?
            }
        };
    }

    on!(tree_with_locks, tree(Conflicts::Never), key_value_incarnation_suite);
    on!(tree_without_locks, tree(Conflicts::Real), key_value_incarnation_suite);
    on!(optimistic, mvcc(), key_value_incarnation_suite);
    on!(taking_turns, {
        let clock = ManualClock::default();
        harness(Yielding::new(Mvcc::new(clock.clone())), clock)
    });
    on!(log, {
        let clock = ManualClock::default();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        harness(LogStore::open(path, Durability::System, clock.clone()).expect("a file"), clock).with_guard(folder)
    });
    on!(redb, {
        let clock = ManualClock::default();
        harness(Redb::in_memory(clock.clone()).expect("memory"), clock)
    });
}

/// Compared with the protocol.
mod compared {
    mod in_pages {
        use super::super::*;

        /// A walk of several steps for two or three dependants, which stops between any two of its transactions.
        async fn in_pages() -> BackendHarness {
            let clock = ManualClock::default();
            let tree = Tree::new(clock.clone(), Conflicts::Never);
            let [one, another] = [2, 1].map(|page| KvBackend::builder(Paused(tree.clone())).page(page).build());
            BackendHarness::of(one)
                .with_second(Arc::new(another))
                .with_pages()
                .with_pauses()
                .with_clock(clock)
                .with_new_incarnation(move || {
                    tree.become_another();
                    std::future::ready(())
                })
        }

        smache_testkit::comparison_suite!(in_pages);
    }

    mod with_conflicts {
        use super::super::tree_with_conflicts;

        smache_testkit::comparison_suite!(tree_with_conflicts);
    }

    mod redb {
        use super::super::redb;

        smache_testkit::comparison_suite!(redb);
    }
}

//! The published contract on three stores of different kinds.

use std::sync::Arc;

use smache_core::{Backend, CacheStore, JobQueue, ManualClock};
use smache_kv::KvBackend;
use smache_testkit::{Harness, Joined, JoinedHarness, QueueHarness, StoreHarness, random_namespace};

use crate::{
    log_store::{Durability, LogStore},
    redb_store::Redb,
    tree::{Conflicts, Tree},
};

/// A role of a tree with a manual clock.
fn on_tree<R>(conflicts: Conflicts, page: usize, role: impl FnOnce(&KvBackend) -> R) -> Harness<R> {
    let clock = ManualClock::default();
    let tree = Tree::new(clock.clone(), conflicts);
    let role = role(&KvBackend::builder(tree.clone()).page(page).build());
    Harness::new(role)
        .with_advance(move |by| {
            clock.advance(by);
            std::future::ready(())
        })
        .with_new_incarnation(move || {
            tree.become_another();
            std::future::ready(())
        })
}

/// A role of the example's store, in a new folder.
fn on_log<R>(role: impl FnOnce(&KvBackend) -> R) -> Harness<R> {
    let clock = ManualClock::default();
    let folder = tempfile::tempdir().expect("a folder");
    let store = LogStore::open(folder.path().join("log"), Durability::System, clock.clone()).expect("a file");
    Harness::new(role(&KvBackend::new(store))).with_guard(folder).with_advance(move |by| {
        clock.advance(by);
        std::future::ready(())
    })
}

/// A role of redb, without writes to the disk.
fn on_redb<R>(role: impl FnOnce(&KvBackend) -> R) -> Harness<R> {
    let clock = ManualClock::default();
    let store = Redb::in_memory(clock.clone()).expect("memory");
    Harness::new(role(&KvBackend::new(store))).with_advance(move |by| {
        clock.advance(by);
        std::future::ready(())
    })
}

fn store(backend: &KvBackend) -> Arc<dyn CacheStore> {
    backend.store(&random_namespace()).expect("it has stores")
}

fn queue(backend: &KvBackend) -> Arc<dyn JobQueue> {
    backend.queue(&random_namespace()).expect("it has queues")
}

fn joined(backend: &KvBackend) -> Joined {
    let (store, queue) = backend.both(&random_namespace()).expect("it has both");
    Joined { store, queue }
}

/// All suites, with a function that makes the harness of a role.
macro_rules! suites {
    ($name:ident, $on:expr) => {
        mod $name {
            use super::*;

            mod alone {
                use super::*;

                async fn a_store() -> StoreHarness {
                    $on(store)
                }

                async fn a_queue() -> QueueHarness {
                    $on(queue)
                }

                smache_testkit::store_suite!(a_store);
                smache_testkit::queue_suite!(a_queue);
            }

            mod together {
                use super::*;

                async fn a_store() -> StoreHarness {
                    $on(|backend: &KvBackend| joined(backend).store)
                }

                async fn a_queue() -> QueueHarness {
                    $on(|backend: &KvBackend| joined(backend).queue)
                }

                async fn a_pair() -> JoinedHarness {
                    $on(joined)
                }

                smache_testkit::store_suite!(a_store);
                smache_testkit::queue_suite!(a_queue);
                smache_testkit::joined_suite!(a_pair);
            }
        }
    };
}

suites!(tree_with_locks, |role| on_tree(Conflicts::Never, 1_000, role));
suites!(tree_with_conflicts, |role| on_tree(Conflicts::EveryThird, 1_000, role));
suites!(tree_without_locks, |role| on_tree(Conflicts::Real, 1_000, role));
suites!(tree_in_small_pages, |role| on_tree(Conflicts::Never, 2, role));
suites!(log, on_log);
suites!(redb, on_redb);

mod lives {
    use super::*;

    async fn alone() -> StoreHarness {
        on_tree(Conflicts::Never, 1_000, store)
    }

    smache_testkit::incarnation_suite!(alone);

    mod with_conflicts {
        use super::*;

        async fn together() -> StoreHarness {
            on_tree(Conflicts::EveryThird, 1_000, |backend| joined(backend).store)
        }

        smache_testkit::incarnation_suite!(together);
    }
}

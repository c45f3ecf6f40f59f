//! The published contract on three stores of different kinds.

use smache_core::ManualClock;
use smache_kv::{KeyValue, KvBackend, Limits};
use smache_testkit::BackendHarness;

use crate::{
    log_store::{Durability, LogStore},
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
    on_a_log: log;
    on_redb: redb;
}

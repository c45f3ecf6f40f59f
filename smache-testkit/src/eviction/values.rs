//! Values above the capacity.

use smache_core::{CacheStore, EntryId, FunctionKey};

use crate::{StoreHarness, steps::*};

/// Stores an entry for each number, each of which depends on itself.
async fn fill(store: &dyn CacheStore, numbers: std::ops::Range<u32>) {
    for number in numbers {
        compute(store, id(number), "value", &[direct(number)]).await;
    }
}

async fn settle(store: &dyn CacheStore) {
    while store.maintain(100).await.expect("maintain").more {}
}

/// Beyond the contract: above its capacity a store removes the values that were stored least recently, at a commit or
/// by maintenance.
pub async fn value_stored_least_recently_goes_first(harness: StoreHarness) {
    let store = &**harness.role();
    let capacity = harness.capacity();
    let half = capacity / 2;
    fill(store, 0..capacity).await;
    settle(store).await;
    assert_eq!(store.stats().await.expect("stats").entries, u64::from(capacity), "not above it yet");
    harness.advance(PAUSE).await;
    fill(store, capacity..capacity + half).await;
    settle(store).await;
    let entries = store.stats().await.expect("stats").entries;
    assert!(entries <= u64::from(capacity), "{entries} entries, and the capacity is {capacity}");
    assert!(entries >= u64::from(half), "{entries} entries are left of {capacity}");
    assert!(look(store, id(0)).await.is_none());
    for number in capacity..capacity + half {
        assert!(see(store, id(number)).await.is_fresh(), "{number} is among the newest");
    }
}

/// Beyond the contract: nothing of a value that went is left, and it is computed again like a new one.
pub async fn value_that_went_leaves_nothing(harness: StoreHarness) {
    let store = &**harness.role();
    let capacity = harness.capacity();
    fill(store, 0..2 * capacity).await;
    settle(store).await;
    assert!(look(store, id(0)).await.is_none());
    assert_eq!(change(store, "0").await.marked, 0);
    fill(store, 0..1).await;
    assert_eq!(change(store, "0").await.marked, 1);
}

/// Beyond the contract: only values go. A run that began before still learns of the changes since.
pub async fn changes_outlive_values(harness: StoreHarness) {
    let store = &**harness.role();
    let capacity = harness.capacity();
    let run = begin(store, id(1_000_000)).await;
    change(store, "a").await;
    fill(store, 0..2 * capacity).await;
    settle(store).await;
    assert_conflicted(&commit(store, run.value("of before", &[direct("a")])).await, &[tag("a")]);
}

/// Beyond the contract: an announced change stays, since no run makes it again.
pub async fn announced_change_outlives_values(harness: StoreHarness) {
    let store = &**harness.role();
    let announced = EntryId::new(FunctionKey::from_bytes(*b"~intent~"), [1; 16]);
    assert!(announced.is_announcement());
    compute(store, announced, "a change", &[]).await;
    fill(store, 0..2 * harness.capacity()).await;
    settle(store).await;
    assert!(look(store, announced).await.is_some());
}

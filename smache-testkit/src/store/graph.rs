//! Looking at the graph: the dependencies of an entry, and the dependants of a dependency.

use smache_core::{Page, Staleness, UsedDependency, Via};

use crate::{StoreHarness, steps::*};

/// The answer of a look-up, and the rest of the record; a run that begins learns the same.
pub async fn full_record_shows_what_an_entry_depends_on(harness: StoreHarness) {
    let store = &**harness.role();
    assert!(store.read_record(&id(1)).await.expect("read_record").record.is_none());
    compute(store, id(1), "one", &[direct("a"), child("b")]).await;
    change(store, "b").await;

    let full = store.read_record(&id(1)).await.expect("read_record");
    let seen = see(store, id(1)).await;
    let record = full.record.expect("a record");
    assert_eq!((&record.entry, record.entry.staleness), (&seen.entry, Staleness::MaybeStale));
    assert!(full.validity.has_epochs(&record.entry.epochs), "the validity comes with it");
    assert!(!full.validity.judge(&record.entry, full.now, &full.incarnation).is_fresh());
    let used: Vec<UsedDependency> = sorted_used(&record.used);
    assert_eq!(used, sorted_used(&[direct("a"), child("b")]));
    assert_eq!(sorted_used(&begin(store, id(1)).await.begun.used), used);
    assert!(begin(store, id(2)).await.begun.used.is_empty(), "an entry without a record depends on nothing");
}

/// Every dependant once or more, with how it depends, page by page; and none that is not one any more.
pub async fn dependants_are_listed(harness: StoreHarness) {
    let store = &**harness.role();
    for number in 0..30 {
        let used = if number % 2 == 0 { direct("a") } else { child("a") };
        compute(store, id(number), "one", &[used, direct("b")]).await;
    }
    store.remove(&id(3), None).await.expect("remove");
    compute(store, id(4), "two", &[direct("b")]).await;

    let mut found = Vec::new();
    let mut page = Page::first(7);
    loop {
        let listed = store.dependants(&tag("a"), page).await.expect("dependants");
        found.extend(listed.entries);
        match listed.next {
            Some(next) => page = Page { cursor: Some(next), limit: 7 },
            None => break,
        }
    }
    found.sort_unstable_by_key(|(id, _)| *id);
    found.dedup();
    let via = |number| if number % 2 == 0 { Via::Direct } else { Via::Child };
    let mut expected: Vec<_> = (0..30).filter(|n| ![3, 4].contains(n)).map(|n| (id(n), via(n))).collect();
    expected.sort_unstable_by_key(|(id, _)| *id);
    assert_eq!(found, expected);
    assert!(store.dependants(&tag("unknown"), Page::first(7)).await.expect("dependants").entries.is_empty());
}

fn sorted_used(used: &[UsedDependency]) -> Vec<UsedDependency> {
    let mut used = used.to_vec();
    used.sort_unstable_by_key(|used| used.dependency);
    used
}

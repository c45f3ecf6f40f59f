//! A look-up while the validity changes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use smache_core::{Backend, Freshness, Invalidation};
use smache_testkit::random_namespace;

use crate::support::{LONG, change, compute_of, direct, id, position, shared, source, step};

/// A look-up reads the validity before the entries: a lease that comes with an invalidation never covers an entry that
/// misses it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_lent_with_a_change_never_confirms_the_value_before() {
    let writer = shared().await;
    let reader = shared().await;
    let namespace = random_namespace();
    let store = writer.store(&namespace).expect("a store");
    let seen = reader.store(&namespace).expect("a store");
    let of = source("users");
    let looks = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let ids: Vec<_> = (0..5).map(id).collect();
    // The server serves other clients between two reads from a socket, of 16 KiB: this pipeline takes several, and the
    // commands at its end read later than the entries.
    let wanted: Vec<_> = ids.iter().copied().chain((1_000..2_500).map(id)).collect();

    let reading = tokio::spawn({
        let looks = looks.clone();
        let over = over.clone();
        async move {
            while !over.load(Ordering::SeqCst) {
                let lookup = seen.lookup(&wanted).await.expect("lookup");
                looks.fetch_add(1, Ordering::SeqCst);
                for entry in lookup.entries.iter().flatten() {
                    let freshness = lookup.validity.judge(entry, lookup.now, &lookup.incarnation);
                    assert!(!matches!(freshness, Freshness::Fresh { .. }), "{freshness:?}");
                }
            }
        }
    });

    let mut next = step(&*store, &of, 0).await;
    let mut number = 0;
    while number < 150 || looks.load(Ordering::SeqCst) < 150 && !reading.is_finished() {
        number += 1;
        // The feed does not confirm the values of this round yet …
        next.positions = vec![(of.clone(), position(number))];
        store.restart(next.clone()).await.expect("restart");
        let used = [direct("a")];
        let all = ids.iter().map(|id| compute_of(&*store, *id, &used, std::slice::from_ref(&of)));
        futures_util::future::join_all(all).await;
        // … and when it does, it has just affected them all.
        let mut caught_up = next.clone();
        (caught_up.valid_for, caught_up.caught_up) = (Some(LONG), true);
        store.invalidate(Invalidation { step: Some(caught_up), ..change(["a"]) }).await.expect("invalidate");
    }
    over.store(true, Ordering::SeqCst);
    reading.await.expect("no reader was told fresh");
}

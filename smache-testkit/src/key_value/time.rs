//! The time and the incarnation of a transaction.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use smache_core::Timestamp;
use smache_kv::Access;

use super::{Place, is_conflict};
use crate::{
    KeyValueHarness,
    steps::{PAUSE, all},
};

/// Readers and writers have one clock: of two transactions the later one has no earlier time, whatever they are for.
pub async fn readers_and_writers_have_one_clock(harness: KeyValueHarness) {
    let place = Place::of(&harness);
    let began = std::time::Instant::now();
    let first = place.begin(Access::Write).await.now;
    let mut last = first;
    for round in 0..harness.rounds(40) {
        for access in [Access::Read, Access::Write, Access::Write, Access::Read] {
            let tx = place.begin(access).await;
            assert!(tx.now >= last, "{access:?} in round {round}: {} after {last}", tx.now);
            last = tx.now;
        }
        place.put("key", &round.to_string()).await;
    }
    let passed = began.elapsed() + Duration::from_secs(2);
    assert!(last.since(first) <= passed, "the clock runs ahead: from {first} to {last} in {passed:?}");
    let before = place.begin(Access::Read).await.now;
    harness.advance(PAUSE).await;
    for access in [Access::Read, Access::Write] {
        let after = place.begin(access).await.now;
        assert!(after.since(before) >= PAUSE - Duration::from_millis(2), "{after} is not {PAUSE:?} after {before}");
    }
}

/// The state that a transaction reads is as new as its time: it has everything that was committed before.
pub async fn state_is_as_new_as_its_time(harness: KeyValueHarness) {
    let place = Place::of(&harness);
    let harness = Arc::new(harness);
    let rounds = u64::from(harness.rounds(80));
    // A time after the commit of each number.
    let committed: Arc<Mutex<Vec<(Timestamp, u64)>>> = Arc::default();
    let readers: Vec<_> = (0..4)
        .map(|reader| {
            let place = place.clone();
            tokio::spawn(async move {
                let mut seen = Vec::new();
                loop {
                    let access = if reader % 2 == 0 { Access::Read } else { Access::Write };
                    let mut tx = place.begin(access).await;
                    match tx.number("number").await {
                        Err(error) if is_conflict(&error) => {}
                        number => {
                            let number = number.expect("get");
                            seen.push((tx.now, number));
                            if number == rounds {
                                return seen;
                            }
                        }
                    }
                    drop(tx);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for number in 1..=rounds {
        place.put("number", &number.to_string()).await;
        let after = place.begin(Access::Write).await.now;
        committed.lock().unwrap_or_else(PoisonError::into_inner).push((after, number));
        harness.advance(Duration::from_millis(2)).await;
        // Readers get their turn, also where nothing waits.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let committed = committed.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for seen in all(readers).await {
        for (now, number) in seen.expect("a reader") {
            let before = committed.iter().filter(|(after, _)| *after < now).map(|(_, number)| *number).max();
            assert!(
                before.is_none_or(|before| number >= before),
                "a transaction of {now} reads {number}, and {before:?} was committed before"
            );
        }
    }
}

/// The incarnation stays while nothing is lost, and is the same for readers and writers.
pub async fn incarnation_stays_while_nothing_is_lost(harness: KeyValueHarness) {
    let place = Place::of(&harness);
    let first = place.begin(Access::Write).await.incarnation;
    for round in 0..10 {
        place.put("key", &round.to_string()).await;
        drop(place.begin(Access::Write).await);
        for access in [Access::Read, Access::Write] {
            assert_eq!(place.begin(access).await.incarnation, first, "{access:?} in round {round}");
        }
        harness.advance(Duration::from_millis(1)).await;
    }
}

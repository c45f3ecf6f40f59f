//! Commits, and transactions that end without one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use smache_kv::{Access, Write};

use super::{OVERLAP, PATIENCE, Place, bytes_of, is_conflict, pause};
use crate::{
    KeyValueHarness,
    steps::{all, polled},
};

/// How many keys a batch of these cases has.
const KEYS: usize = 20;

fn keys(place: &Place) -> Vec<Bytes> {
    (0..KEYS).map(|number| place.key(format!("{number:02}"))).collect()
}

/// The same number under every key.
fn batch(place: &Place, number: u64) -> Vec<Write> {
    keys(place).into_iter().map(|key| Write { key, value: Some(bytes_of(number)) }).collect()
}

/// The one number that all keys have.
async fn whole(place: &Place) -> Option<Bytes> {
    let mut values = place.read(&keys(place)).await;
    values.dedup();
    assert_eq!(values.len(), 1, "a part of a batch was written: {values:?}");
    values.remove(0)
}

/// Readers see all writes of a batch or none, by key and by range, while writers commit.
pub async fn batch_is_seen_as_a_whole(harness: KeyValueHarness) {
    let place = Place::of(&harness);
    let rounds = u64::from(harness.rounds(40));
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let place = place.clone();
            let over = Arc::clone(&over);
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    whole(&place).await;
                    let mut found = place.pairs("", "z", 100).await;
                    assert!([0, KEYS].contains(&found.len()), "{} of {KEYS} pairs", found.len());
                    found.dedup_by(|one, two| one.1 == two.1);
                    assert!(found.len() <= 1, "a part of a batch was written: {found:?}");
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    all((0..2_u64).map(|writer| {
        let place = place.clone();
        async move {
            for round in 0..rounds {
                let number = 2 * round + writer;
                loop {
                    let started = match place.store.begin(Access::Write).await {
                        Err(error) if is_conflict(&error) => {
                            pause().await;
                            continue;
                        }
                        started => started.expect("begin"),
                    };
                    match started.transaction.commit(batch(&place, number)).await {
                        Err(error) if is_conflict(&error) => pause().await,
                        done => {
                            done.expect("commit");
                            break;
                        }
                    }
                }
            }
        }
    }))
    .await;
    over.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.await.expect("a reader");
    }
    assert!(whole(&place).await.is_some());
}

/// A commit that has returned is there for every transaction that begins afterwards, whatever its access and its task.
pub async fn commit_is_seen_by_every_later_transaction(harness: KeyValueHarness) {
    let place = Place::of(&harness);
    for round in 1..=u64::from(harness.rounds(30)) {
        place.put("key", &round.to_string()).await;
        for access in [Access::Read, Access::Write] {
            let place = place.clone();
            let seen = tokio::spawn(async move {
                let mut tx = place.begin(access).await;
                tx.number("key").await.expect("nothing conflicts with it")
            });
            assert_eq!(seen.await.expect("a task of the case"), round, "{access:?}");
        }
        assert_eq!(place.pairs("key", "key\0", 1).await[0].1, bytes_of(round));
    }
}

/// A batch of many writes is one commit.
pub async fn large_batch_is_one_commit(harness: KeyValueHarness) {
    let place = Place::of(&harness);
    let many = harness.many().min(2_000);
    for (round, kept) in [many, many / 2].into_iter().enumerate() {
        let mut tx = place.begin(Access::Write).await;
        for number in 0..many {
            let rest = format!("{number:05}");
            if number < kept {
                tx.put(rest, format!("round {round}"));
            } else {
                tx.remove(rest);
            }
        }
        tx.commit().await.expect("no other transaction touches these keys");
        let found = place.pairs("", "z", 10_000).await;
        assert_eq!(found.len(), kept as usize);
        assert!(found.iter().all(|(_, value)| value == format!("round {round}").as_bytes()));
    }
}

/// Batches and values as large as the limits are taken. Without limits these are the ones of a result with the most
/// dependencies and of the largest result that a builder allows by default.
pub async fn batches_up_to_the_limits_are_taken(harness: KeyValueHarness) {
    /// The bytes of the largest result by default.
    const USUAL: usize = 16 << 20;
    let place = Place::of(&harness);
    let limits = place.store.limits();
    let key = place.key("00000").len();

    // A commit writes two keys for a dependency, and at most 24 others.
    let many = 2 * harness.many() as usize + 24;
    let most = limits.batch_writes.min(many).min(limits.batch_bytes / key);
    for kept in [most, 0] {
        let mut tx = place.begin(Access::Write).await;
        for number in 0..most {
            let rest = format!("{number:05}");
            if number < kept { tx.put(rest, Bytes::new()) } else { tx.remove(rest) }
        }
        tx.commit().await.unwrap_or_else(|error| panic!("a batch of {most} writes is within the limits: {error}"));
        assert_eq!(place.pairs("", "z", many + 1).await.len(), kept);
    }

    let mut room = limits.batch_bytes.min(USUAL + key);
    let mut tx = place.begin(Access::Write).await;
    let mut sizes = Vec::new();
    while room > key && sizes.len() < most {
        let size = (room - key).min(limits.value_bytes);
        tx.put(format!("{:05}", sizes.len()), vec![b'v'; size]);
        sizes.push(size);
        room -= key + size;
    }
    tx.commit().await.unwrap_or_else(|error| panic!("values of {sizes:?} bytes are within the limits: {error}"));
    let found: Vec<usize> = place.pairs("", "z", many).await.iter().map(|(_, value)| value.len()).collect();
    assert_eq!(found, sizes);
}

/// A transaction that is dropped has written nothing, and holds up no other one.
pub async fn dropped_transaction_leaves_nothing(harness: KeyValueHarness) {
    let place = Place::of(&harness);
    place.put("key", "1").await;
    for access in [Access::Write, Access::Read] {
        let mut tx = place.begin(access).await;
        tx.set("key", 2);
        assert_eq!(tx.number("key").await.expect("nothing conflicts with it"), 1);
        assert_eq!(tx.scan("", "z", 9).await.expect("nothing conflicts with it").0, ["key"]);
        drop(tx);
        assert_eq!(place.numbers(["key"]).await, [1]);
        place.put("key", "1").await;
    }
}

/// A call of `begin` that is dropped while it waits holds up no other one.
pub async fn dropped_begin_leaves_no_lock(harness: KeyValueHarness) {
    let place = Place::of(&harness);
    for round in 0..10 {
        let held = place.begin(Access::Write).await;
        for access in [Access::Write, Access::Read, Access::Write] {
            let _ = tokio::time::timeout(Duration::from_millis(round), place.store.begin(access)).await;
        }
        drop(held);
        let _ = tokio::time::timeout(Duration::from_micros(100 * round), place.store.begin(Access::Write)).await;
        place.put("key", "1").await;
    }
}

/// A reader gets its turn while a writer has a transaction open, or as soon as that ends.
pub async fn reader_gets_its_turn(harness: KeyValueHarness) {
    let place = Place::of(&harness);
    place.put("key", "1").await;
    let mut held = place.begin(Access::Write).await;
    let _ = held.number("key").await;
    let reading = tokio::spawn({
        let place = place.clone();
        async move { place.numbers(["key"]).await }
    });
    tokio::time::sleep(OVERLAP).await;
    drop(held);
    let read = tokio::time::timeout(PATIENCE, reading).await.expect("a reader waits without end");
    assert_eq!(read.expect("a reader"), [1]);
}

/// A commit whose future is dropped half-way has happened as a whole or not at all, and holds up no other one.
pub async fn dropped_commit_happens_as_a_whole(harness: KeyValueHarness) {
    let place = Place::of(&harness);
    let rounds = harness.rounds(60);
    for round in 0..rounds {
        let patience = Duration::from_micros(1_600) * round / rounds;
        let Ok(started) = place.store.begin(Access::Write).await else { continue };
        let commit = started.transaction.commit(batch(&place, u64::from(round)));
        if round % 2 == 0 {
            let _ = tokio::time::timeout(patience, commit).await;
        } else {
            let _ = polled(commit, round as usize / 2 % 10).await;
        }
        whole(&place).await;
        place.put("after", &round.to_string()).await;
        whole(&place).await;
    }
}

//! Many transactions at once, with exact totals.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use smache_core::Result;
use smache_kv::Access;

use super::{Place, Tx, is_conflict, pause};
use crate::{KeyValueHarness, chance::Chance, steps::all};

/// Runs a transaction that needs a number until it does not conflict.
macro_rules! transact {
    ($place:expr, |$tx:ident| $work:expr) => {
        loop {
            let attempt = async {
                let mut $tx = $place.try_begin(Access::Write).await?;
                let answer = $work;
                $tx.commit().await?;
                Result::Ok(answer)
            };
            match attempt.await {
                Err(error) if is_conflict(&error) => pause().await,
                done => break done.expect("a transaction"),
            }
        }
    };
}

/// Counters that many add to at once lose nothing.
pub async fn counters_lose_nothing(harness: KeyValueHarness) {
    const WRITERS: u32 = 6;
    let place = Place::of(&harness);
    let each = harness.rounds(30);
    all((0..WRITERS).map(|writer| {
        let place = place.clone();
        async move {
            for number in 0..each {
                let name = ["one", "two", "three"][((writer + number) % 3) as usize];
                transact!(place, |tx| {
                    let (own, total) = (tx.number(name).await?, tx.number("total").await?);
                    tx.set(name, own + 1);
                    tx.set("total", total + 1);
                });
            }
        }
    }))
    .await;
    let [one, two, three, total] = place.numbers(["one", "two", "three", "total"]).await;
    assert_eq!((one + two + three, total), (u64::from(WRITERS * each), u64::from(WRITERS * each)));
}

/// Of many that write into a range if they find it empty, one does.
pub async fn one_of_many_finds_the_range_empty(harness: KeyValueHarness) {
    let place = Place::of(&harness);
    for round in 0..harness.rounds(20) {
        let first = all((0..6).map(|task| {
            let place = place.clone();
            async move {
                let (from, to) = (format!("{round}:"), format!("{round};"));
                transact!(place, |tx| {
                    let (found, _) = tx.scan(&from, &to, 1).await?;
                    tx.set(&format!("{round}:{task}"), 1);
                    found.is_empty()
                })
            }
        }))
        .await;
        assert_eq!(first.into_iter().filter(|first| *first).count(), 1, "round {round}");
    }
}

/// The sum of everything, page by page in one transaction.
async fn sum(tx: &mut Tx, page: usize) -> Result<u64> {
    let mut from = "part:".to_owned();
    let mut sum = 0;
    loop {
        let (names, of_page) = tx.scan(&from, "part;", page).await?;
        sum += of_page;
        match names.last() {
            Some(last) if names.len() == page => from = format!("{last}\0"),
            _ => return Ok(sum),
        }
    }
}

/// Writers move amounts between keys that come and go: every reader finds the same sum, in pages of any size.
pub async fn sum_of_moving_parts_stays(harness: KeyValueHarness) {
    const SUM: u64 = 600;
    let place = Place::of(&harness);
    place.write(&["part:00", "part:10", "part:20"].map(|name| (name, Some("200")))).await;
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (1..=3)
        .map(|page| {
            let place = place.clone();
            let over = Arc::clone(&over);
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    let mut tx = place.begin(Access::Read).await;
                    match sum(&mut tx, page).await {
                        Err(error) if is_conflict(&error) => pause().await,
                        sum => assert_eq!(sum.expect("scan"), SUM, "in pages of {page}"),
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let each = harness.rounds(40);
    all((0..3).map(|_| {
        let place = place.clone();
        let mut chance = Chance::new();
        async move {
            for _ in 0..each {
                let to = format!("part:{:02}", chance.below(30));
                let share = u64::from(chance.below(4)) + 1;
                transact!(place, |tx| {
                    let (names, _) = tx.scan("part:", "part;", 100).await?;
                    let from = &names[names.len() / 2];
                    let amount = tx.number(from).await?;
                    let moved = amount.div_ceil(share);
                    if *from != to {
                        let there = tx.number(&to).await?;
                        tx.set(&to, there + moved);
                        match amount - moved {
                            0 => tx.remove(from),
                            rest => tx.set(from, rest),
                        }
                    }
                });
            }
        }
    }))
    .await;
    over.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.await.expect("a reader");
    }
    let mut tx = place.begin(Access::Read).await;
    assert_eq!(sum(&mut tx, 100).await.expect("scan"), SUM);
}

/// After any sequence of batches the store holds what a map holds.
pub async fn random_batches_agree_with_a_map(harness: KeyValueHarness) {
    let place = Place::of(&harness);
    let mut chance = Chance::new();
    let mut map = std::collections::BTreeMap::new();
    let key = |number: u32| vec![[0, 1, 0x7f, 0xff][(number % 4) as usize]; (number / 4) as usize];
    for round in 0..harness.rounds(60) {
        let mut tx = place.begin(Access::Write).await;
        let some: Vec<u32> = (0..16).filter(|_| chance.below(2) == 0).collect();
        for number in some {
            if chance.below(3) == 0 {
                tx.remove(key(number));
                map.remove(&key(number));
            } else {
                let value = Bytes::from(vec![b'v'; chance.below(40) as usize]);
                tx.put(key(number), value.clone());
                map.insert(key(number), value);
            }
        }
        tx.commit().await.expect("no other transaction touches these keys");
        let (one, two) = (key(chance.below(16)), key(chance.below(16)));
        let (from, to) = if one < two { (one, two) } else { (two, one) };
        let limit = chance.below(8) as usize + 1;
        let found = place.pairs(&from, &to, limit).await;
        let expected: Vec<_> = map.range(from.clone()..to.clone()).take(limit).collect();
        let same = found.len() == expected.len()
            && found.iter().zip(&expected).all(|(found, expected)| found.0 == expected.0[..] && found.1 == *expected.1);
        assert!(same, "round {round}, {chance:?}: {found:?} instead of {expected:?}");
    }
    let keys: Vec<Bytes> = (0..16).map(|number| place.key(key(number))).collect();
    let expected: Vec<Option<Bytes>> = (0..16).map(|number| map.get(&key(number)).cloned()).collect();
    assert_eq!(place.read(&keys).await, expected);
}

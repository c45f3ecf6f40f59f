//! Transactions that begin with their first keys.

use bytes::Bytes;
use smache_kv::Access;

use super::{Place, Tx, Work, is_conflict, number_in, pause, wait_for};
use crate::KeyValueHarness;

const ADD: Work = |tx| {
    Box::pin(async move {
        let before = tx.number("counter").await?;
        tx.set("counter", before + 1);
        Ok(())
    })
};

/// The first keys are answered as `get` answers them: in order, absent ones as none, and none for no keys.
pub async fn first_keys_are_answered_in_order(harness: KeyValueHarness) {
    let place = Place::of(&harness);
    place.write(&[("a", Some("1")), ("b", Some("")), ("d", Some("4"))]).await;
    let keys = ["d", "c", "a", "b", "a"].map(|rest| place.key(rest));
    for access in [Access::Read, Access::Write] {
        let (mut tx, found) = place.begin_and_get(access, &keys).await;
        let found: Vec<Option<&[u8]>> = found.iter().map(Option::as_deref).collect();
        assert_eq!(found, [Some(&b"4"[..]), None, Some(b"1"), Some(b""), Some(b"1")], "{access:?}");
        assert_eq!(tx.number("d").await.expect("nothing conflicts with it"), 4, "it goes on to read");
        drop(tx);
        assert!(place.begin_and_get(access, &[]).await.1.is_empty(), "no keys");
    }
    let (mut tx, _) = place.begin_and_get(Access::Write, &keys).await;
    tx.set("c", 3);
    tx.commit().await.expect("no other transaction touches these keys");
    assert_eq!(place.numbers(["c"]).await, [3]);
}

/// A key was read as the transaction began, present or absent, and another transaction wrote it.
pub async fn first_key_that_changes_is_a_conflict(harness: KeyValueHarness) {
    for before in [None, Some(5)] {
        let place = Place::of(&harness);
        if let Some(before) = before {
            place.put("counter", &u64::to_string(&before)).await;
        }
        let (mut tx, found) = place.begin_and_get(Access::Write, &[place.key("counter")]).await;
        tx.set("counter", number_in(found[0].as_ref()) + 1);
        place.overlap_after(tx, Ok(()), ADD, ADD).await;
        assert_eq!(place.numbers(["counter"]).await, [before.unwrap_or_default() + 2], "it began with {before:?}");
    }
}

/// The first keys and those that the transaction reads later are of one state, while another transaction moves an amount
/// from one to the other.
pub async fn first_keys_are_of_the_state_of_the_rest(harness: KeyValueHarness) {
    const MOVE: Work = |tx| {
        Box::pin(async move {
            let one = tx.number("one").await?;
            let next = (one + 4) % 11;
            tx.set("one", next);
            tx.set("two", 10 - next);
            Ok(())
        })
    };
    async fn is_one_state(tx: &mut Tx, found: &[Option<Bytes>]) {
        match tx.number("two").await {
            Err(error) => assert!(is_conflict(&error), "{error}"),
            Ok(two) => assert_eq!(number_in(found[0].as_ref()) + two, 10, "two states"),
        }
    }
    let place = Place::of(&harness);
    place.write(&[("one", Some("1")), ("two", Some("9"))]).await;
    for access in [Access::Read, Access::Write] {
        let (mut tx, found) = place.begin_and_get(access, &[place.key("one")]).await;
        let other = tokio::spawn({
            let place = place.clone();
            async move { place.run(MOVE).await }
        });
        wait_for(&other).await;
        is_one_state(&mut tx, &found).await;
        drop(tx);
        other.await.expect("the other transaction");
    }
    let rounds = harness.rounds(60);
    let moving = tokio::spawn({
        let place = place.clone();
        async move {
            for _ in 0..rounds {
                place.run(MOVE).await;
                pause().await;
            }
        }
    });
    while !moving.is_finished() {
        let (mut tx, found) = place.begin_and_get(Access::Read, &[place.key("one")]).await;
        is_one_state(&mut tx, &found).await;
        tokio::task::yield_now().await;
    }
    moving.await.expect("the other transactions");
}

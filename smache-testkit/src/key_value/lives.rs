//! A store that becomes another incarnation.

use smache_kv::Access;

use super::Place;
use crate::KeyValueHarness;

/// Every later transaction names the new incarnation, and has the data that was kept.
pub async fn later_transactions_name_the_new_incarnation(harness: KeyValueHarness) {
    let place = Place::of(&harness);
    place.put("key", "1").await;
    let before = place.begin(Access::Read).await.incarnation;
    harness.new_incarnation().await;
    let after = place.begin(Access::Write).await.incarnation;
    assert_ne!(before, after);
    for access in [Access::Read, Access::Write] {
        assert_eq!(place.begin(access).await.incarnation, after, "{access:?}");
    }
    assert_eq!(place.numbers(["key"]).await, [1]);
    place.put("key", "2").await;
    assert_eq!(place.numbers(["key"]).await, [2]);
}

/// A transaction that began in the incarnation before commits nothing, with reads or without.
pub async fn transaction_of_the_incarnation_before_commits_nothing(harness: KeyValueHarness) {
    let place = Place::of(&harness);
    place.put("key", "1").await;
    for reads in [true, false] {
        let mut tx = place.begin(Access::Write).await;
        if reads {
            assert_eq!(tx.number("key").await.expect("nothing conflicts with it"), 1);
        }
        tx.set("key", 2);
        harness.new_incarnation().await;
        tx.commit().await.expect_err("it began in another incarnation");
        assert_eq!(place.numbers(["key"]).await, [1]);
    }
}

//! Two transactions at a time: each case lets a second one go through between the reads of the first one and its
//! commit. The results must be those of one after the other.

use smache_kv::Access;

use super::{Place, Work, is_conflict, wait_for};
use crate::KeyValueHarness;

/// A key was read, and another transaction wrote it.
pub async fn changed_key_is_a_conflict(harness: KeyValueHarness) {
    const ADD: Work = |tx| {
        Box::pin(async move {
            let before = tx.number("counter").await?;
            tx.set("counter", before + 1);
            Ok(())
        })
    };
    let place = Place::of(&harness);
    place.put("counter", "5").await;
    place.overlap(ADD, ADD).await;
    assert_eq!(place.numbers(["counter"]).await, [7]);
}

/// A key was read as absent, and another transaction wrote it.
pub async fn new_key_is_a_conflict(harness: KeyValueHarness) {
    const ADD: Work = |tx| {
        Box::pin(async move {
            let before = tx.number("counter").await?;
            tx.set("counter", before + 1);
            Ok(())
        })
    };
    let place = Place::of(&harness);
    place.overlap(ADD, ADD).await;
    assert_eq!(place.numbers(["counter"]).await, [2]);

    // The same where the first one writes something else.
    const LOOK: Work = |tx| {
        Box::pin(async move {
            let there = tx.get("later").await?.is_some();
            tx.set("seen", if there { 1 } else { 2 });
            Ok(())
        })
    };
    const APPEAR: Work = |tx| {
        Box::pin(async move {
            let seen = tx.number("seen").await?;
            tx.set("later", 1);
            tx.set("after", seen);
            Ok(())
        })
    };
    place.overlap(LOOK, APPEAR).await;
    let found = place.numbers(["seen", "after"]).await;
    assert!([[2, 2], [1, 0]].contains(&found), "(what the one saw, what the other found) is {found:?}");
}

/// A key was read, and another transaction removed it.
pub async fn removed_key_is_a_conflict(harness: KeyValueHarness) {
    const LOOK: Work = |tx| {
        Box::pin(async move {
            let there = tx.get("key").await?.is_some();
            tx.set("seen", if there { 1 } else { 2 });
            Ok(())
        })
    };
    const REMOVE: Work = |tx| {
        Box::pin(async move {
            let seen = tx.number("seen").await?;
            tx.remove("key");
            tx.set("after", seen);
            Ok(())
        })
    };
    let place = Place::of(&harness);
    place.put("key", "1").await;
    place.overlap(LOOK, REMOVE).await;
    let found = place.numbers(["seen", "after"]).await;
    assert!([[1, 1], [2, 0]].contains(&found), "(what the one saw, what the other found) is {found:?}");
}

/// A range was scanned, and another transaction wrote a new key into it: at its start, in an empty one, and behind its
/// last key.
pub async fn new_key_in_a_scanned_range_is_a_conflict(harness: KeyValueHarness) {
    const COUNT: Work = |tx| {
        Box::pin(async move {
            let (found, _) = tx.scan("range:", "range;", 100).await?;
            tx.set("range:m", 100 + found.len() as u64);
            Ok(())
        })
    };
    const AT_THE_START: Work = |tx| {
        Box::pin(async move {
            let (found, _) = tx.scan("range:", "range;", 100).await?;
            tx.set("range:", 100 + found.len() as u64);
            Ok(())
        })
    };
    const AT_THE_END: Work = |tx| {
        Box::pin(async move {
            let (found, _) = tx.scan("range:", "range;", 100).await?;
            tx.set("range:z", 100 + found.len() as u64);
            Ok(())
        })
    };
    for (other, key) in [(AT_THE_START, "range:"), (AT_THE_END, "range:z")] {
        let place = Place::of(&harness);
        place.overlap(COUNT, other).await;
        let mut counts = place.numbers(["range:m", key]).await;
        counts.sort_unstable();
        assert_eq!(
            counts,
            [100, 101],
            "the later one finds the key {key:?} of the earlier one, or the other way round"
        );
    }
}

/// A range was scanned, and another transaction removed a key from it.
pub async fn key_removed_from_a_scanned_range_is_a_conflict(harness: KeyValueHarness) {
    const COUNT: Work = |tx| {
        Box::pin(async move {
            let (found, _) = tx.scan("range:", "range;", 100).await?;
            tx.set("count", found.len() as u64);
            Ok(())
        })
    };
    const REMOVE: Work = |tx| {
        Box::pin(async move {
            let count = tx.number("count").await?;
            tx.remove("range:b");
            tx.set("after", count);
            Ok(())
        })
    };
    let place = Place::of(&harness);
    place.write(&[("range:a", Some("1")), ("range:b", Some("1"))]).await;
    place.overlap(COUNT, REMOVE).await;
    let found = place.numbers(["count", "after"]).await;
    assert!([[2, 2], [1, 0]].contains(&found), "(what the one counted, what the other found) is {found:?}");
}

/// A range was scanned, and another transaction changed a value in it.
pub async fn value_changed_in_a_scanned_range_is_a_conflict(harness: KeyValueHarness) {
    const SUM: Work = |tx| {
        Box::pin(async move {
            let (_, sum) = tx.scan("range:", "range;", 100).await?;
            tx.set("sum", sum);
            Ok(())
        })
    };
    const CHANGE: Work = |tx| {
        Box::pin(async move {
            let sum = tx.number("sum").await?;
            tx.set("range:b", 20);
            tx.set("after", sum);
            Ok(())
        })
    };
    let place = Place::of(&harness);
    place.write(&[("range:a", Some("1")), ("range:b", Some("2"))]).await;
    place.overlap(SUM, CHANGE).await;
    let found = place.numbers(["sum", "after"]).await;
    assert!([[3, 3], [21, 0]].contains(&found), "(what the one added up, what the other found) is {found:?}");
}

/// A scan that its limit ends has read everything up to its last pair, and one that has room has read the whole range:
/// new keys in the gaps are conflicts.
pub async fn new_key_before_the_limit_of_a_scan_is_a_conflict(harness: KeyValueHarness) {
    const FIRST_TWO: Work = |tx| {
        Box::pin(async move {
            let (found, _) = tx.scan("range:", "range;", 2).await?;
            tx.put("seen", found.join(" "));
            Ok(())
        })
    };
    const FIRST_NINE: Work = |tx| {
        Box::pin(async move {
            let (found, _) = tx.scan("range:", "range;", 9).await?;
            tx.put("seen", found.join(" "));
            Ok(())
        })
    };
    const BEFORE: Work = |tx| {
        Box::pin(async move {
            let seen = tx.get("seen").await?.unwrap_or_default();
            tx.set("range:a", 1);
            tx.put("after", seen);
            Ok(())
        })
    };
    const BETWEEN: Work = |tx| {
        Box::pin(async move {
            let seen = tx.get("seen").await?.unwrap_or_default();
            tx.set("range:cc", 1);
            tx.put("after", seen);
            Ok(())
        })
    };
    const BEHIND: Work = |tx| {
        Box::pin(async move {
            let seen = tx.get("seen").await?.unwrap_or_default();
            tx.set("range:x", 1);
            tx.put("after", seen);
            Ok(())
        })
    };
    for (scan, other, with) in [
        (FIRST_TWO, BEFORE, "range:a range:c"),
        (FIRST_TWO, BETWEEN, "range:c range:cc"),
        (FIRST_NINE, BEHIND, "range:c range:d range:e range:x"),
    ] {
        let place = Place::of(&harness);
        place.write(&["range:c", "range:d", "range:e"].map(|name| (name, Some("1")))).await;
        place.overlap(scan, other).await;
        let seen = place.text("seen").await.expect("the scan is through");
        let after = place.text("after").await.expect("the other one is through");
        assert!(
            after == seen || (after.is_empty() && seen == with),
            "the scan found {seen:?}, and the other one that the scan had found {after:?}"
        );
    }
}

/// Each of two transactions reads what the other one writes.
pub async fn crossed_reads_and_writes_are_a_conflict(harness: KeyValueHarness) {
    const ONE: Work = |tx| {
        Box::pin(async move {
            let other = tx.number("two").await?;
            tx.set("one", 10 + other);
            Ok(())
        })
    };
    const TWO: Work = |tx| {
        Box::pin(async move {
            let other = tx.number("one").await?;
            tx.set("two", 10 + other);
            Ok(())
        })
    };
    for there in [false, true] {
        let place = Place::of(&harness);
        if there {
            place.write(&[("one", Some("0")), ("two", Some("0"))]).await;
        }
        place.overlap(ONE, TWO).await;
        let mut found = place.numbers(["one", "two"]).await;
        found.sort_unstable();
        assert_eq!(found, [10, 20], "the later one sees the earlier one");
    }
}

/// One transaction reads a key and writes into a range, and the other one scans the range and writes the key: the first
/// commit of an entry beside the first change of what it depends on.
pub async fn key_and_range_crossed_are_a_conflict(harness: KeyValueHarness) {
    const COMMIT: Work = |tx| {
        Box::pin(async move {
            let changed = tx.get("changed").await?.is_some();
            tx.set("edge:1", 1);
            tx.set("fresh", u64::from(!changed));
            Ok(())
        })
    };
    const CHANGE: Work = |tx| {
        Box::pin(async move {
            let (edges, _) = tx.scan("edge:", "edge;", 100).await?;
            tx.set("changed", 1);
            if !edges.is_empty() {
                tx.set("fresh", 0);
            }
            Ok(())
        })
    };
    for (one, two) in [(COMMIT, CHANGE), (CHANGE, COMMIT)] {
        let place = Place::of(&harness);
        place.overlap(one, two).await;
        assert_eq!(place.numbers(["changed", "edge:1", "fresh"]).await, [1, 1, 0]);
    }
}

/// Transactions that read nothing may both commit; one batch comes whole after the other.
pub async fn batches_without_reads_come_one_after_the_other(harness: KeyValueHarness) {
    const ONE: Work = |tx| {
        Box::pin(async move {
            tx.set("a", 1);
            tx.set("b", 1);
            tx.remove("c");
            Ok(())
        })
    };
    const TWO: Work = |tx| {
        Box::pin(async move {
            tx.set("a", 2);
            tx.remove("b");
            tx.set("c", 2);
            Ok(())
        })
    };
    let place = Place::of(&harness);
    place.overlap(ONE, TWO).await;
    let found = place.numbers(["a", "b", "c"]).await;
    assert!([[1, 1, 0], [2, 0, 2]].contains(&found), "{found:?}");
}

/// A transaction reads one state from its first read to its last, or fails with a conflict: by key and by range, again
/// and for the first time, whether it is for writing or not.
pub async fn transaction_reads_one_state(harness: KeyValueHarness) {
    const CHANGE: Work = |tx| {
        Box::pin(async move {
            for key in ["a", "b", "range:a", "range:c"] {
                tx.set(key, 1);
            }
            tx.remove("range:b");
            tx.set("range:d", 1);
            Ok(())
        })
    };
    for access in [Access::Read, Access::Write] {
        let place = Place::of(&harness);
        place.write(&["a", "b", "range:a", "range:b", "range:c"].map(|name| (name, Some("0")))).await;
        let mut tx = place.begin(access).await;
        let first = tx.number("a").await;
        let other = tokio::spawn({
            let place = place.clone();
            async move { place.run(CHANGE).await }
        });
        wait_for(&other).await;
        let reads = async {
            let mut seen = vec![first?];
            seen.push(tx.number("b").await?);
            seen.push(tx.number("a").await?);
            let (names, sum) = tx.scan("range:", "range;", 10).await?;
            seen.push(u64::from(names == ["range:a", "range:c", "range:d"] && sum == 3));
            assert!(seen[3] == 1 || (names == ["range:a", "range:b", "range:c"] && sum == 0), "{names:?} {sum}");
            let (page, _) = tx.scan("range:b", "range;", 1).await?;
            seen.push(u64::from(page == ["range:c"]));
            smache_core::Result::Ok(seen)
        };
        match reads.await {
            Err(error) if is_conflict(&error) => {}
            seen => {
                let seen = seen.expect("reads");
                assert!(seen.iter().all(|one| *one == seen[0]), "{access:?}: reads of two states: {seen:?}");
            }
        }
        drop(tx);
        other.await.expect("the other transaction");
        assert_eq!(place.numbers(["a", "b", "range:d"]).await, [1, 1, 1]);
    }
}

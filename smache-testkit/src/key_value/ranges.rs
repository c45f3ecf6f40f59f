//! What a transaction reads of a range.

use bytes::Bytes;
use smache_kv::Access;

use super::Place;
use crate::KeyValueHarness;

/// A range has its first bound, and not its last one, whether there are keys at the bounds or not.
pub async fn range_has_its_start_and_not_its_end(harness: KeyValueHarness) {
    let place = Place::of(&harness);
    place.write(&["b", "ba", "c", "d", "da"].map(|name| (name, Some("")))).await;
    for (from, to, expected) in [
        ("b", "d", &["b", "ba", "c"][..]),
        ("b", "da", &["b", "ba", "c", "d"]),
        ("b\0", "d\0", &["ba", "c", "d"]),
        ("a", "e", &["b", "ba", "c", "d", "da"]),
        ("ba", "bb", &["ba"]),
        ("bb", "c", &[]),
        ("c", "c\0", &["c"]),
        ("", "a", &[]),
        ("db", "z", &[]),
    ] {
        assert_eq!(place.names(from, to, 100).await, expected, "from {from:?} to {to:?}");
    }
}

/// The pairs come in the order of the bytes of their keys: numbers without a sign, and a key before all that it begins.
pub async fn range_is_in_the_order_of_the_bytes(harness: KeyValueHarness) {
    let place = Place::of(&harness);
    let mut keys: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![b'k', byte]).collect();
    for first in [0, 1, b'9', b'a', 0x7f, 0x80, 0xff] {
        keys.extend([vec![b'k', first, 0], vec![b'k', first, 0, 0], vec![b'k', first, 0xff]]);
    }
    keys.push(vec![b'k']);
    let mut tx = place.begin(Access::Write).await;
    for key in &keys {
        tx.put(key, Bytes::copy_from_slice(key));
    }
    tx.commit().await.expect("no other transaction touches these keys");
    keys.sort();
    let found = place.pairs([b'k'], [b'l'], 1_000).await;
    assert_eq!(found.iter().map(|(key, _)| key.to_vec()).collect::<Vec<_>>(), keys);
    assert!(found.iter().all(|(key, value)| key == value), "each key with its value");
    let negative = place.pairs([b'k', 0x7f], [b'k', 0x81], 1_000).await;
    assert_eq!(negative.len(), 8, "{negative:?}");
}

/// As many pairs as the limit allows, and the first ones: fewer are the end of the range.
pub async fn range_is_as_long_as_its_limit(harness: KeyValueHarness) {
    let place = Place::of(&harness);
    let many = harness.many().min(1_000);
    let names: Vec<String> = (0..many).map(|number| format!("{number:05}")).collect();
    let mut tx = place.begin(Access::Write).await;
    for name in &names {
        tx.put(name, vec![b'x'; 500]);
    }
    tx.commit().await.expect("no other transaction touches these keys");
    for limit in [1, 2, 99, 100, many - 1, many, many + 1, 10 * many] {
        let found = place.names("", "z", limit as usize).await;
        assert_eq!(found, names[..many.min(limit) as usize], "the first {limit} of {many}");
    }
    let rest = place.names("00010", "00020", 100).await;
    assert_eq!(rest, names[10..20]);
}

/// A scan in pages goes on behind the last key, and meets each key once.
pub async fn range_is_read_page_by_page(harness: KeyValueHarness) {
    let place = Place::of(&harness);
    let mut tx = place.begin(Access::Write).await;
    for number in 0..100 {
        tx.put(format!("{number:02}"), "");
        tx.put(format!("{number:02}\0"), "");
    }
    tx.commit().await.expect("no other transaction touches these keys");
    for limit in [1, 7, 200] {
        let mut from = String::new();
        let mut found = Vec::new();
        loop {
            let page = place.names(&from, "z", limit).await;
            let Some(last) = page.last() else { break };
            from = format!("{last}\0");
            found.extend(page);
        }
        assert_eq!(found.len(), 200, "in pages of {limit}");
        assert!(found.is_sorted_by(|one, two| one < two), "in pages of {limit}");
    }
}

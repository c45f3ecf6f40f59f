//! What a transaction reads of keys.

use bytes::Bytes;
use smache_kv::Access;

use super::{Place, bytes_of};
use crate::KeyValueHarness;

/// One element per key, in order: none for an absent key, and one for each time that a key is asked for.
pub async fn get_answers_in_order(harness: KeyValueHarness) {
    let place = Place::of(&harness);
    assert!(place.read(&[]).await.is_empty(), "no keys");
    let mut tx = place.begin(Access::Write).await;
    for number in 0..300 {
        tx.put(format!("{number:03}"), bytes_of(number));
    }
    tx.commit().await.expect("no other transaction touches these keys");
    let asked: Vec<u64> = (0..600).rev().map(|at| at * 7 % 400).collect();
    let keys: Vec<Bytes> = asked.iter().map(|number| place.key(format!("{number:03}"))).collect();
    let expected: Vec<Option<Bytes>> = asked.iter().map(|number| (*number < 300).then(|| bytes_of(*number))).collect();
    assert_eq!(place.read(&keys).await, expected);
}

/// Every value comes back as it was written, an empty one and one of a megabyte included, under keys of every length
/// below 300 bytes and of any bytes. A key is not the beginning of another one.
pub async fn keys_and_values_are_kept_as_they_are(harness: KeyValueHarness) {
    let place = Place::of(&harness);
    let longest = 299 - place.key("").len();
    let every_byte: Vec<u8> = (0..=u8::MAX).collect();
    let keys: [Vec<u8>; 8] = [
        vec![],
        vec![0],
        vec![0, 0],
        vec![u8::MAX],
        every_byte.iter().cycle().copied().take(longest).collect(),
        every_byte.iter().rev().cycle().copied().take(longest).collect(),
        vec![b'a'; longest],
        vec![b'a'; longest - 1],
    ];
    let values: [Bytes; 8] = [
        "one".into(),
        Bytes::new(),
        every_byte.clone().into(),
        vec![0; 1 << 20].into(),
        "\0".into(),
        "\u{ff}".into(),
        every_byte.repeat(300).into(),
        "last".into(),
    ];
    for (key, value) in keys.iter().zip(&values) {
        let mut tx = place.begin(Access::Write).await;
        tx.put(key, value.clone());
        tx.commit().await.expect("no other transaction touches these keys");
    }
    let asked: Vec<Bytes> = keys.iter().map(|key| place.key(key)).collect();
    for (at, value) in place.read(&asked).await.into_iter().enumerate() {
        let value = value.unwrap_or_else(|| panic!("the key {} is absent", keys[at].escape_ascii()));
        assert!(value == values[at], "the {} bytes of key {at} came back as {}", values[at].len(), value.len());
    }
    assert_eq!(place.read(&[place.key([0, 0, 0])]).await, [None], "a longer key is another one");
}

/// A write replaces the value, and a removal removes it; the removal of an absent key is no error.
pub async fn last_write_of_a_key_counts(harness: KeyValueHarness) {
    let place = Place::of(&harness);
    place.write(&[("a", Some("one")), ("b", Some("one")), ("c", None)]).await;
    place.write(&[("a", Some("a longer one")), ("b", None), ("c", None)]).await;
    assert_eq!((place.text("a").await, place.text("b").await), (Some("a longer one".to_owned()), None));
    assert_eq!(place.names("", "z", 10).await, ["a"]);
    place.write(&[("a", Some("")), ("b", Some("again"))]).await;
    assert_eq!((place.text("a").await, place.text("b").await), (Some(String::new()), Some("again".to_owned())));
    assert_eq!(place.names("", "z", 10).await, ["a", "b"]);
}

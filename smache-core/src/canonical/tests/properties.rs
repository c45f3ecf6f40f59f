//! Properties of all values and of all bytes.

use std::collections::{BTreeMap, HashMap};

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use serde_json::Value;

use super::super::{elements, from_slice, from_slice_as_typed, to_vec_as_typed};
use super::{Adjacent, Flat, Internal, Kind, Nested, Untagged, encode};

/// Holds every kind that serde has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Rich {
    Unit,
    Bool(bool),
    Small(i8),
    Wide(u128),
    Negative(i128),
    Float(f64),
    Single(f32),
    Char(char),
    Text(String),
    Bytes(ByteBuf),
    Maybe(Option<Option<Box<Rich>>>),
    Pair(Box<Rich>, u16),
    List(Vec<Rich>),
    Map(BTreeMap<String, Rich>),
    Keyed(BTreeMap<(u8, Option<char>), ()>),
    Record { id: u32, name: Option<String>, rest: Box<Rich> },
}

/// Few and similar, so that values which nearly collide are likely.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ab/:~\\x00]{0,3}", "\\PC{0,8}"]
}

fn rich() -> impl Strategy<Value = Rich> {
    let leaf = prop_oneof![
        Just(Rich::Unit),
        any::<bool>().prop_map(Rich::Bool),
        any::<i8>().prop_map(Rich::Small),
        any::<u128>().prop_map(Rich::Wide),
        any::<i128>().prop_map(Rich::Negative),
        // The default strategy of floats gives no NaN.
        any::<f64>().prop_map(Rich::Float),
        any::<f32>().prop_map(Rich::Single),
        any::<char>().prop_map(Rich::Char),
        text().prop_map(Rich::Text),
        vec(any::<u8>(), 0..4).prop_map(|bytes| Rich::Bytes(ByteBuf::from(bytes))),
        btree_map((0..3_u8, option::of(any::<char>())), Just(()), 0..4).prop_map(Rich::Keyed),
    ];
    leaf.prop_recursive(5, 48, 4, |inner| {
        prop_oneof![
            option::of(option::of(inner.clone().prop_map(Box::new))).prop_map(Rich::Maybe),
            (inner.clone(), any::<u16>()).prop_map(|(first, second)| Rich::Pair(Box::new(first), second)),
            vec(inner.clone(), 0..4).prop_map(Rich::List),
            btree_map(text(), inner.clone(), 0..4).prop_map(Rich::Map),
            (any::<u32>(), option::of(text()), inner).prop_map(|(id, name, rest)| Rich::Record {
                id,
                name,
                rest: Box::new(rest)
            }),
        ]
    })
}

/// Numbers around the bounds of types.
fn number() -> impl Strategy<Value = i128> {
    let bound = prop::sample::select(vec![0_u32, 7, 8, 15, 16, 31, 32, 63, 64, 126]);
    let near = (bound, -2..=2_i128, any::<bool>()).prop_map(|(bits, by, below)| {
        let power = 1_i128 << bits;
        if below { -power + by } else { power + by }
    });
    prop_oneof![3 => near, 1 => any::<i64>().prop_map(i128::from)]
}

/// Bytes that are mostly tags and short lengths, and so get far into the decoder.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![4 => 0..0x1e_u8, 1 => any::<u8>()], 0..64)
}

/// Decodes as a type, and tells whether the outcome is a value like any other.
fn decodes_to_a_value<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
    if let Ok(value) = from_slice::<T>(bytes) {
        let canonical = encode(&value);
        let again: T = from_slice(&canonical).expect("what was encoded decodes");
        assert_eq!(encode(&again), canonical);
    }
}

fn survives(bytes: &[u8]) {
    let _: Result<IgnoredAny, _> = from_slice(bytes);
    let _ = elements(bytes);
    let _: Result<Nested, _> = from_slice(bytes);
    let _: Result<Untagged<Kind<u8>>, _> = from_slice(bytes);
    let _: Result<Flat<Kind<i64>>, _> = from_slice(bytes);
    decodes_to_a_value::<Rich>(bytes);
    decodes_to_a_value::<Value>(bytes);
    decodes_to_a_value::<(u8, Option<String>)>(bytes);
    decodes_to_a_value::<HashMap<String, Vec<f32>>>(bytes);
    decodes_to_a_value::<Internal<ByteBuf>>(bytes);
    decodes_to_a_value::<Adjacent<char>>(bytes);
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_equal(value in rich()) {
        prop_assert_eq!(from_slice::<Rich>(&encode(&value)), Ok(value));
    }

    #[test]
    fn the_elements_of_a_tuple_are_encoded_as_they_are_alone(a in rich(), b in any::<u128>(), c in vec(rich(), 0..3)) {
        let alone = [encode(&a), encode(&b), encode(&c)];
        let tuple = encode(&(a, b, c));
        prop_assert_eq!(elements(&tuple), Ok(alone.iter().map(Vec::as_slice).collect()));
    }

    #[test]
    fn integers_are_one_key_exactly_if_they_are_one_number(a in number(), b in number()) {
        let forms = |n: i128| {
            let mut forms = vec![encode(&n)];
            macro_rules! as_types {
                ($($type:ty)*) => { $(forms.extend(<$type>::try_from(n).ok().map(|n| encode(&n)));)* };
            }
            as_types!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 isize);
            forms
        };
        for (one, other) in forms(a).iter().flat_map(|one| forms(b).into_iter().map(move |other| (one.clone(), other))) {
            prop_assert_eq!(one == other, a == b);
        }
        for bytes in forms(a) {
            prop_assert_eq!(from_slice::<i128>(&bytes), Ok(a));
            prop_assert_eq!(from_slice::<u32>(&bytes).ok(), u32::try_from(a).ok());
            prop_assert_eq!(from_slice::<i64>(&bytes).ok(), i64::try_from(a).ok());
        }
    }

    #[test]
    fn what_is_encoded_as_typed_decodes_equal(value in rich()) {
        let bytes = to_vec_as_typed(&value, super::LIMIT).expect("encodable");
        prop_assert_eq!(from_slice_as_typed::<Rich>(&bytes), Ok(value));
    }

    #[test]
    fn values_have_equal_bytes_exactly_if_they_are_equal(a in rich(), b in rich()) {
        prop_assert_eq!(encode(&a) == encode(&b), a == b);
    }

    #[test]
    fn similar_values_have_equal_bytes_exactly_if_they_are_equal(
        a in vec(vec(option::of("[a\\x00]{0,2}"), 0..3), 0..3),
        b in vec(vec(option::of("[a\\x00]{0,2}"), 0..3), 0..3),
    ) {
        prop_assert_eq!(encode(&a) == encode(&b), a == b);
    }

    #[test]
    fn the_order_of_insertion_does_not_matter(
        entries in vec((text(), any::<i32>()), 0..20).prop_shuffle(),
    ) {
        let sorted: BTreeMap<_, _> = entries.iter().cloned().rev().collect();
        let hashed: HashMap<_, _> = entries.into_iter().rev().collect();
        prop_assert_eq!(encode(&hashed), encode(&sorted));
    }

    #[test]
    fn a_truncated_value_is_an_error(value in rich(), cut in any::<prop::sample::Index>()) {
        let bytes = encode(&value);
        prop_assert!(from_slice::<Rich>(&bytes[..cut.index(bytes.len())]).is_err());
        prop_assert!(from_slice::<IgnoredAny>(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn a_longer_value_is_an_error(value in rich(), more in any::<u8>()) {
        let mut bytes = encode(&value);
        bytes.push(more);
        prop_assert!(from_slice::<Rich>(&bytes).is_err());
    }

    #[test]
    fn random_bytes_do_not_panic(bytes in hostile()) {
        survives(&bytes);
    }

    #[test]
    fn damaged_values_do_not_panic(value in rich(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = encode(&value);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        survives(&bytes);
    }
}

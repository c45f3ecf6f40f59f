//! Which bytes are which values, and the errors for bytes that are none.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::ops::Bound;
use std::time::Duration;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use serde_json::{Value, json};

use super::super::{DecodeReason, MAX_DEPTH, from_slice};
use super::{
    Adjacent, Flat, FlatTagged, Holder, Id, Inner, Internal, Kind, Unit, Untagged, encode, nested, round_trips,
};

/// A value in any shape comes out again.
fn round_trips_everywhere<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: impl Fn() -> T) {
    round_trips(&value());
    round_trips(&Some(Some(value())));
    round_trips(&(vec![value()], [value()]));
    let kinds = || [Kind::Empty, Kind::One(1), Kind::Two(2, 3), Kind::Named { z: 4, a: None }];
    for kind in kinds() {
        round_trips(&Holder { kind: kind.clone(), a: value() });
        round_trips(&Internal::One(Holder { kind, a: value() }));
    }
    for kind in [Kind::One(value()), Kind::Two(value(), 2), Kind::Named { z: value(), a: Some(value()) }] {
        round_trips(&kind);
    }
    for adjacent in [Adjacent::Empty, Adjacent::One(value()), Adjacent::Two(value(), 2), Adjacent::Named { z: value() }]
    {
        round_trips(&adjacent);
    }
    for untagged in [Untagged::Unit(()), Untagged::Named { f: value() }, Untagged::Plain(value())] {
        round_trips(&untagged);
    }
    for kind in [Kind::One(1), Kind::Two(2, 3), Kind::Named { z: 4, a: Some(5) }] {
        round_trips(&Untagged::<T>::Kind(kind));
    }
    for kind in [Kind::Empty, Kind::One(1), Kind::Two(70_000, 3), Kind::Named { z: 4, a: Some(5) }] {
        let rest = BTreeMap::from([("more".to_owned(), json!([1, null, {"x": -1.5}]))]);
        round_trips(&Flat { id: 1, inner: Inner { of: value() }, kind, rest });
    }
    for inner in [Internal::Empty, Internal::Named { z: value() }] {
        round_trips(&FlatTagged { id: 1, inner });
    }
}

#[test]
fn values_of_every_shape_round_trip() {
    round_trips_everywhere(|| 7_u32);
    round_trips_everywhere(|| -1_i8);
    round_trips_everywhere(|| i64::MIN);
    round_trips_everywhere(|| u64::MAX);
    round_trips_everywhere(|| 1.5_f32);
    round_trips_everywhere(|| true);
    round_trips_everywhere(|| "x".to_owned());
    round_trips_everywhere(|| Id(3));
    round_trips_everywhere(|| Some(None::<u8>));
    round_trips_everywhere(|| (1_u8, 'x', ByteBuf::from(vec![1, 2])));
    round_trips_everywhere(|| BTreeMap::from([(3_u8, Some("x".to_owned()))]));
    round_trips_everywhere(|| Kind::Named { z: Kind::Two('x', 1), a: None });
    round_trips_everywhere(|| Duration::from_millis(1500));
}

#[test]
fn types_of_std_and_of_json_round_trip() {
    round_trips(&());
    round_trips(&Unit);
    round_trips(&[0_u8; 0]);
    round_trips(&(u128::MAX, i128::MIN, f64::NEG_INFINITY, '\u{10ffff}'));
    round_trips(&HashMap::from([((1_u32, "a".to_owned()), 1.5), ((2, "b".to_owned()), f64::INFINITY)]));
    round_trips(&VecDeque::from([None, Some(None), Some(Some(()))]));
    round_trips(&(Ok::<u8, String>(1), Err::<u8, String>("x".to_owned())));
    round_trips(&(1..5_u8, Bound::Excluded(3_u8), Bound::<u8>::Unbounded));
    round_trips(&(IpAddr::from([1, 2, 3, 4]), Kind::One(IpAddr::from([1, 2, 3, 4]))));
    round_trips(&SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 80)));
    round_trips(&json!({"z": [1, -1, 1.5, "x", null, true, {"a": {}, "": []}], "a": u64::MAX, "b": i64::MIN}));
}

#[test]
fn an_integer_decodes_as_any_integer_that_holds_it() {
    assert_eq!(from_slice(&encode(&5_u8)), Ok(5_i128));
    assert_eq!(from_slice(&encode(&5_i128)), Ok(5_u8));
    assert_eq!(from_slice(&encode(&5_i16)), Ok(5.0_f64));
    assert!(from_slice::<u8>(&encode(&256_u16)).is_err());
    assert!(from_slice::<u64>(&encode(&-1_i8)).is_err());
}

#[test]
fn unknown_fields_are_skipped() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Narrow {
        b: u8,
    }
    let wide = json!({"a": {"x": [1, "y"]}, "b": 7, "c": null});
    assert_eq!(from_slice(&encode(&wide)), Ok(Narrow { b: 7 }));
    assert!(from_slice::<IgnoredAny>(&encode(&(Kind::Two(1_u8, 2), Kind::Named { z: 1_u8, a: None }))).is_ok());
}

#[test]
fn a_variant_is_a_string_or_a_map_for_who_asks_for_no_enum() {
    let list = vec![Kind::Empty, Kind::One(1_u8), Kind::Two(2, 3), Kind::Named { z: 4, a: None }];
    let seen: Value = from_slice(&encode(&list)).expect("a JSON value takes everything");
    assert_eq!(seen, json!(["Empty", {"One": 1}, {"Two": [2, 3]}, {"Named": {"a": null, "z": 4}}]));
    assert_eq!(from_slice(&encode("Empty")), Ok(Kind::<u8>::Empty));
}

#[track_caller]
fn refused<T: DeserializeOwned + Debug>(bytes: &[u8], reason: &DecodeReason, offset: usize) {
    let error = from_slice::<T>(bytes).expect_err("the bytes are no such value");
    assert_eq!((error.reason(), error.offset()), (reason, Some(offset)));
}

#[test]
fn only_the_canonical_form_is_accepted() {
    #[track_caller]
    fn not_canonical<T: DeserializeOwned + Debug>(bytes: &[u8], what: &str) {
        let error = from_slice::<T>(bytes).expect_err("the bytes are not canonical");
        assert!(error.to_string().starts_with("not the canonical form"), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
    not_canonical::<String>(b"\x11\x81\x00x", "shortest");
    not_canonical::<String>(b"\x11\x80\x00", "shortest");
    not_canonical::<String>(b"\x11\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "64 bits");
    not_canonical::<String>(b"\x11\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "64 bits");
    not_canonical::<u64>(b"\x05\0\x01", "an integer");
    not_canonical::<i64>(b"\x09\x01", "an integer");
    not_canonical::<Value>(b"\x0a\xff\xff", "an integer");
    not_canonical::<f32>(b"\x0e\x80\0\0\0", "negative zero");
    not_canonical::<f64>(b"\x0f\x80\0\0\0\0\0\0\0", "negative zero");
    not_canonical::<f32>(b"\x0e\x7f\xc0\0\0", "not a number");
    not_canonical::<f64>(b"\x0f\xff\xf8\0\0\0\0\0\0", "not a number");
    not_canonical::<BTreeMap<u8, u8>>(b"\x17\x04\x02\x04\0\x04\x01\x04\0\0", "ascending");
    not_canonical::<BTreeMap<u8, u8>>(b"\x17\x04\x01\x04\0\x04\x01\x04\0\0", "ascending");
    not_canonical::<Holder<u8>>(b"\x18\x11\x04kind\x19\x05Empty\x11\x01a\x04\x01\0", "ascending");
}

#[test]
fn an_error_says_what_and_where() {
    refused::<u8>(b"", &DecodeReason::Truncated, 0);
    refused::<u8>(b"\x04", &DecodeReason::Truncated, 1);
    refused::<(u8, u8)>(b"\x16\x04\x01\x04\x02", &DecodeReason::Truncated, 5);
    refused::<String>(b"\x11\x05abc", &DecodeReason::Truncated, 2);
    refused::<u8>(b"\x04\x01\x04", &DecodeReason::Trailing, 2);
    refused::<u8>(b"\x00", &DecodeReason::Tag(0), 0);
    refused::<Vec<u8>>(b"\x15\x04\x01\xff\x00", &DecodeReason::Tag(0xff), 3);
    refused::<String>(b"\x11\x02\xc3\x28", &DecodeReason::NotUtf8, 1);
    refused::<char>(b"\x10\x00\x00\xd8\x00", &DecodeReason::NotAChar(0xd800), 5);
    refused::<(u8,)>(b"\x16\x04\x01\x04\x02\x00", &DecodeReason::Unread, 3);
    let expected = "invalid type: string \"x\", expected u8".to_owned();
    refused::<Vec<u8>>(b"\x15\x04\x01\x11\x01x\x00", &DecodeReason::Mismatch(expected), 3);
    let expected = "invalid type: newtype variant, expected unit variant".to_owned();
    refused::<(Kind<u8>,)>(b"\x16\x1a\x05Empty\x04\x01\x00", &DecodeReason::Mismatch(expected), 1);
    let error = from_slice::<u8>(b"\x04").expect_err("a byte is missing");
    assert_eq!(error.to_string(), "the input ends inside a value at byte 1");
}

#[test]
fn a_lying_length_allocates_nothing() {
    let huge = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    for tag in [0x11, 0x12, 0x19, 0x1a] {
        let bytes = [&[tag], &huge[..]].concat();
        refused::<Value>(&bytes, &DecodeReason::Truncated, bytes.len());
    }
}

#[test]
fn the_depth_is_bounded() {
    round_trips(&nested(MAX_DEPTH / 2 - 1));
    // `Some`, sequences, maps, newtype variants: one level per byte or per three bytes, without an end.
    for unit in [&b"\x14"[..], b"\x15", b"\x17\x01", b"\x1a\x01x"] {
        let bytes = unit.repeat(100_000);
        refused::<IgnoredAny>(&bytes, &DecodeReason::TooDeep, MAX_DEPTH * unit.len() + 1);
    }
    let error = from_slice::<super::Nested>(&b"\x14".repeat(100_000)).expect_err("the bytes nest too deep");
    assert_eq!(error.reason(), &DecodeReason::TooDeep);
}

#[test]
fn a_type_without_values_does_not_recurse_without_end() {
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "no value of it exists")]
    struct Itself(Box<Itself>);
    let error = from_slice::<Itself>(b"\x01").expect_err("there is no such value");
    assert_eq!(error.reason(), &DecodeReason::TooDeep);
}

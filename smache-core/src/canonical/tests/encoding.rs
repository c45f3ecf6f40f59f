//! Which values have which bytes, and which have none.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display};

use serde::ser::{Error as _, SerializeMap};
use serde::{Serialize, Serializer};
use serde_bytes::ByteBuf;

use super::super::encoder::Encoder;
use super::super::{EncodeError, Integers, MAX_DEPTH, to_vec};
use super::{Holder, Id, Kind, LIMIT, Unit, encode, nested};

/// A map whose entries come in the listed order.
struct Listed<K, V>(Vec<(K, V)>);

impl<K: Serialize, V: Serialize> Serialize for Listed<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// Serialises as its text.
struct Shown<T>(T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Without an end, and of no known length.
struct Endless;

impl Serialize for Endless {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(std::iter::repeat("again").filter(|word| !word.is_empty()))
    }
}

impl Display for Endless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        loop {
            f.write_str("again")?;
        }
    }
}

/// Fails in its own `Serialize`, or in its `Display`.
struct Broken;

impl Serialize for Broken {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("broken"))
    }
}

impl Display for Broken {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Err(fmt::Error)
    }
}

/// The encodings of some values, each of its type. (In braces, so that the tables stay tables.)
macro_rules! encodings {
    ($($value:expr),* $(,)?) => { [$(encode(&$value)),*] };
}

#[test]
fn the_format_is_what_is_documented() {
    macro_rules! golden {
        ($($expected:literal $value:expr;)*) => {$(
            let hex: String = encode(&$value).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, $expected.replace(' ', ""), "{}", stringify!($value));
        )*};
    }
    golden! {
        "01" ();
        "01" Unit;
        "02" false;
        "03" true;
        "04 ff" 255_u8;
        "05 0102" 0x0102_u16;
        "06 01020304" 0x0102_0304_u32;
        "07 0000000100000000" 0x1_0000_0000_u64;
        "08 00000000000000010000000000000000" 0x1_0000_0000_0000_0000_u128;
        "04 01" 1_u64;
        "04 01" 1_usize;
        "04 01" 1_i128;
        "04 80" 128_i16;
        "09 ff" -1_i8;
        "09 ff" -1_i64;
        "09 ff" -1_isize;
        "09 80" -128_i128;
        "0a ff7f" -129_i32;
        "0b ffff7fff" -32_769_i64;
        "0c ffffffff7fffffff" -2_147_483_649_i64;
        "0d ffffffffffffffff7fffffffffffffff" -9_223_372_036_854_775_809_i128;
        "0e 3fc00000" 1.5_f32;
        "0e 00000000" -0.0_f32;
        "0f 3ff8000000000000" 1.5_f64;
        "0f 0000000000000000" -0.0_f64;
        "0f fff0000000000000" f64::NEG_INFINITY;
        "10 0001f600" '\u{1f600}';
        "11 00" "";
        "11 03 61c3bc" "a\u{fc}";
        "11 02 3432" Shown(42);
        "12 02 0102" ByteBuf::from(vec![1, 2]);
        "13" None::<u8>;
        "14 13" Some(None::<u8>);
        "14 14 01" Some(Some(()));
        "15 0401 0402 00" vec![1_u8, 2];
        "16 0401 0402 00" [1_u8, 2];
        "16 0401 03 00" (1_u8, true);
        "17 00" BTreeMap::<u8, u8>::new();
        "17 1100 0403 110161 0402 110162 0401 11026161 0404 00"
            BTreeMap::from([("b", 1_u8), ("a", 2), ("", 3), ("aa", 4)]);
        "18 110161 0402 11046b696e64 1905456d707479 00" Holder { kind: Kind::Empty, a: 2_u8 };
        "04 09" Id(9);
        "19 05 456d707479" Kind::<u8>::Empty;
        "1a 03 4f6e65 0401" Kind::One(1_u8);
        "1b 03 54776f 0401 0402 00" Kind::Two(1_u8, 2);
        "1c 05 4e616d6564 110161 13 11017a 0401 00" Kind::Named { z: 1_u8, a: None };
    }
    for (length, leb128) in
        [(127, vec![0x7f]), (128, vec![0x80, 0x01]), (300, vec![0xac, 0x02]), (1 << 14, vec![0x80, 0x80, 0x01])]
    {
        assert_eq!(encode(&"x".repeat(length))[1..=leb128.len()], leb128);
        assert_eq!(encode(&Shown("x".repeat(length))), encode(&"x".repeat(length)));
    }
}

#[test]
fn different_values_have_different_bytes() {
    let long = "x".repeat(1 << 20);
    let all = encodings! {
        "", "a", "a/b", "a:b", "~~~", "~1", "/", ":", "\0", "\0\0", "a\0", "\u{1}", "null", "1", "[1]", "None", "Empty",
        "\u{fc}", "u\u{308}", "\u{1f600}", "A", " a", "a ", long, long.clone() + "y", long.clone() + "z", long[1..],
        ("a", "bc"), ("ab", "c"), ("abc", ""), ("", "abc"), ("abc",), ("a,b", "c"), ("a", "b,c"), ("a", ("b", "c")),
        (("a", "b"), "c"), ["a"], vec!["a"], vec![vec!["a"]], vec!["a", ""], vec!["", "a"], Vec::<u8>::new(),
        vec![Vec::<u8>::new()], vec![Vec::<u8>::new(), vec![]], vec![vec![1_u8], vec![2]], vec![vec![1_u8, 2]],
        vec![(); 2], vec![(); 3], [(); 0], ((), ()), (), None::<()>, Some(()), Some(None::<()>), Some(Some(())),
        vec![None::<()>], vec![Some(())], true, false, 'a', '\0', ByteBuf::from(*b"a"), ByteBuf::new(), vec![b'a'],
        1_u8, 1_f32, 1_f64, -1_i8, -129_i16, i32::MIN, i64::MIN, 255_u8, 256_u16, 65_536_u32,
        u64::MAX, u128::MAX, i128::MIN, i128::MAX, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 0_f64,
        Kind::<u8>::Empty, Kind::One(1_u8), Kind::One(Some(1_u8)), Kind::One([1_u8, 1]), Kind::Two(1_u8, 1),
        Kind::Named { z: 1_u8, a: None }, Kind::Named { z: 1_u8, a: Some(1) }, BTreeMap::from([("One", 1_u8)]),
        BTreeMap::from([(1_u8, "One")]), BTreeMap::from([("a", "b"), ("c", "d")]), BTreeMap::<u8, u8>::new(),
        BTreeMap::from([("a", "d"), ("c", "b")]), BTreeMap::from([("a", BTreeMap::from([("c", "d")]))]),
    };
    for (at, bytes) in all.iter().enumerate() {
        for other in all.iter().skip(at + 1) {
            assert_ne!(bytes, other);
            assert!(!bytes.starts_with(other) && !other.starts_with(bytes), "no encoding begins another");
        }
    }
}

#[test]
fn equal_maps_have_equal_bytes_however_they_are_held() {
    let sorted: BTreeMap<_, _> =
        (0..500_u32).map(|n| (format!("key {n}"), (n, BTreeMap::from([(n, "x"), (0, "y")])))).collect();
    let hashed: HashMap<_, _> = sorted.clone().into_iter().collect();
    let reversed = Listed(sorted.clone().into_iter().rev().collect());
    assert_eq!(encode(&hashed), encode(&sorted));
    assert_eq!(encode(&reversed), encode(&sorted));
}

#[test]
fn the_order_of_fields_does_not_matter() {
    #[derive(Serialize)]
    struct Before {
        id: u8,
        name: &'static str,
    }
    #[derive(Serialize)]
    struct After {
        name: &'static str,
        id: u8,
    }
    assert_eq!(encode(&Before { id: 1, name: "x" }), encode(&After { id: 1, name: "x" }));
}

#[test]
fn a_map_of_at_most_one_entry_does_not_allocate_to_sort() {
    let allocated = |value: &BTreeMap<&str, BTreeMap<u8, Id>>| {
        let mut encoder = Encoder::new(LIMIT, Integers::ByValue);
        value.serialize(&mut encoder).expect("the value is encodable");
        encoder.sorting_memory()
    };
    assert_eq!(allocated(&BTreeMap::new()), 0);
    assert_eq!(allocated(&BTreeMap::from([("a", BTreeMap::from([(1, Id(1))]))])), 0);
    assert!(allocated(&BTreeMap::from([("a", BTreeMap::from([(1, Id(1)), (2, Id(2))]))])) > 0);
}

#[test]
fn nan_is_refused_wherever_it_is() {
    assert_eq!(to_vec(&f64::NAN, LIMIT), Err(EncodeError::NotANumber));
    assert_eq!(to_vec(&-f32::NAN, LIMIT), Err(EncodeError::NotANumber));
    assert_eq!(to_vec(&Kind::Named { z: 1.0, a: Some(f64::NAN) }, LIMIT), Err(EncodeError::NotANumber));
    assert_eq!(to_vec(&Listed(vec![(f32::NAN, 1)]), LIMIT), Err(EncodeError::NotANumber));
}

#[test]
fn a_key_may_not_come_twice() {
    assert_eq!(to_vec(&Listed(vec![("a", 1), ("a", 1)]), LIMIT), Err(EncodeError::DuplicateKey));
    assert_eq!(to_vec(&Listed(vec![(1, 1), (3, 1), (2, 1), (3, 2)]), LIMIT), Err(EncodeError::DuplicateKey));
    assert_eq!(to_vec(&vec![Listed(vec![(0.0, 1), (-0.0, 2)])], LIMIT), Err(EncodeError::DuplicateKey));
    let inner = || Listed(vec![("b", 2), ("a", 1)]);
    assert!(to_vec(&Listed(vec![("b", inner()), ("a", inner())]), LIMIT).is_ok(), "each map counts for itself");
}

#[test]
fn writing_stops_at_the_limit() {
    for value in ["", "a", "0123456789"] {
        let length = encode(value).len();
        assert!(to_vec(value, length).is_ok());
        assert_eq!(to_vec(value, length - 1), Err(EncodeError::TooLong { limit: length - 1 }));
    }
    let all = (1_u8, 'x', [vec![Some(2.5)]], Shown("text"), BTreeMap::from([("b", 1), ("a", 2)]), Kind::Two((), 1));
    let length = encode(&all).len();
    for limit in 0..length {
        assert_eq!(to_vec(&all, limit), Err(EncodeError::TooLong { limit }));
    }
    assert!(to_vec(&all, length).is_ok());
    assert!(to_vec(&all, usize::MAX).is_ok());
}

#[test]
fn what_has_no_end_stops_at_the_limit() {
    assert_eq!(to_vec(&Endless, 1000), Err(EncodeError::TooLong { limit: 1000 }));
    assert_eq!(to_vec(&Shown(Endless), 1000), Err(EncodeError::TooLong { limit: 1000 }));
}

#[test]
fn the_depth_is_bounded() {
    assert!(to_vec(&nested(MAX_DEPTH / 2 - 1), LIMIT).is_ok());
    assert_eq!(to_vec(&nested(MAX_DEPTH / 2), LIMIT), Err(EncodeError::TooDeep));
    assert_eq!(to_vec(&nested(10_000), LIMIT), Err(EncodeError::TooDeep));
    let wide: Vec<_> = (0..1000).map(|n| Kind::One(Some(BTreeMap::from([(n, Kind::Two([n], 1))])))).collect();
    assert!(to_vec(&wide, LIMIT).is_ok(), "only what encloses a value counts");
}

#[test]
fn errors_of_the_value_are_passed_on() {
    assert_eq!(to_vec(&Some(Broken), LIMIT), Err(EncodeError::Custom("broken".to_owned())));
    assert!(matches!(to_vec(&Shown(Broken), LIMIT), Err(EncodeError::Custom(_))));
}

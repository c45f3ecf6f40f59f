//! Types of every shape that serde has, shared by the tests of the encoding.

mod decoding;
mod encoding;
mod properties;

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{from_slice, to_vec};

const LIMIT: usize = 4 << 20;

fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    to_vec(value, LIMIT).expect("the value is encodable")
}

#[track_caller]
fn round_trips<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let bytes = encode(value);
    assert_eq!(from_slice::<T>(&bytes).as_ref(), Ok(value), "{bytes:02x?}");
    for end in 0..bytes.len() {
        let cut = from_slice::<T>(&bytes[..end]);
        assert!(cut.is_err(), "{value:?} decodes from {end} of {} bytes", bytes.len());
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Kind<T> {
    Empty,
    One(T),
    Two(T, u8),
    Named { z: T, a: Option<T> },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Internal<T> {
    Empty,
    One(Holder<T>),
    Named { z: T },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent<T> {
    Empty,
    One(T),
    Two(T, u8),
    Named { z: T },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged<T> {
    Kind(Kind<u16>),
    Unit(()),
    Named { f: T },
    Plain(T),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Holder<T> {
    kind: Kind<u8>,
    a: T,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct FlatTagged<T> {
    id: u8,
    #[serde(flatten)]
    inner: Internal<T>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Flat<T> {
    id: u8,
    #[serde(flatten)]
    inner: Inner<T>,
    #[serde(flatten)]
    kind: Kind<u32>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Inner<T> {
    of: T,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Id(u32);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

/// Nests as deep as wanted, two levels per step.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Nested(Option<Box<Nested>>);

/// A value of `2 * pairs + 1` levels.
fn nested(pairs: usize) -> Nested {
    (0..pairs).fold(Nested(None), |inner, _| Nested(Some(Box::new(inner))))
}

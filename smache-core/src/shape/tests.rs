//! The shapes that types tell.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    num::NonZeroU32,
    time::Duration,
};

use serde::{Deserialize, de::DeserializeOwned};

use super::Shape;

#[track_caller]
fn complete<T: DeserializeOwned>() -> Shape {
    let shape = Shape::of::<T>();
    assert!(shape.is_complete(), "{shape:?}");
    shape
}

#[track_caller]
fn differ<T: DeserializeOwned, U: DeserializeOwned>() {
    assert_ne!(Shape::of::<T>().hash(), Shape::of::<U>().hash(), "{:?}", Shape::of::<T>());
}

#[expect(dead_code, reason = "only the shapes count")]
mod before {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    #[derive(Deserialize)]
    pub(super) struct Page {
        title: String,
        inner: Inner,
        tree: Tree,
    }
    #[derive(Deserialize)]
    pub(super) struct Inner {
        kind: Kind,
        rest: BTreeMap<u8, Vec<(u8, Option<char>)>>,
    }
    #[derive(Deserialize)]
    pub(super) enum Kind {
        Empty,
        One(u32),
        Two(u32, Box<Kind>),
        Named { id: u64 },
    }
    #[derive(Deserialize)]
    pub(super) struct Tree {
        children: Vec<Tree>,
        parent: Option<Box<Tree>>,
    }
}

#[expect(dead_code, reason = "only the shapes count")]
mod same_in_another_order {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    #[derive(Deserialize)]
    pub(super) struct Renamed {
        inner: Within,
        tree: Forest,
        title: String,
    }
    #[derive(Deserialize)]
    pub(super) struct Within {
        rest: BTreeMap<u8, Vec<(u8, Option<char>)>>,
        kind: Sort,
    }
    #[derive(Deserialize)]
    pub(super) enum Sort {
        Named { id: u64 },
        One(u32),
        Two(u32, Box<Sort>),
        Empty,
    }
    #[derive(Deserialize)]
    pub(super) struct Forest {
        parent: Option<Box<Forest>>,
        children: Vec<Forest>,
    }
}

#[expect(dead_code, reason = "only the shapes count")]
mod one_more_field_deep_within {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    #[derive(Deserialize)]
    pub(super) struct Page {
        title: String,
        inner: Inner,
        tree: super::before::Tree,
    }
    #[derive(Deserialize)]
    pub(super) struct Inner {
        kind: Kind,
        rest: BTreeMap<u8, Vec<(u8, Option<char>)>>,
    }
    #[derive(Deserialize)]
    pub(super) enum Kind {
        Empty,
        One(u32),
        Two(u32, Box<Kind>),
        Named { id: u64, name: Option<String> },
    }
}

#[expect(dead_code, reason = "only the shapes count")]
mod one_more_variant {
    use serde::Deserialize;

    #[derive(Deserialize)]
    pub(super) enum Kind {
        Empty,
        One(u32),
        Two(u32, Box<Kind>),
        Named { id: u64 },
        More,
    }
}

#[expect(dead_code, reason = "only the shapes count")]
mod another_width {
    use serde::Deserialize;

    #[derive(Deserialize)]
    pub(super) enum Kind {
        Empty,
        One(u64),
        Two(u32, Box<Kind>),
        Named { id: u64 },
    }
}

#[test]
fn every_part_of_a_type_is_found() {
    let shape = complete::<before::Page>();
    for line in [
        ".title text",
        ".inner.kind|Named.id u64",
        ".inner.kind|Two(2) again 1",
        ".inner.rest{value}[](2)? char",
        ".tree.children[] again 1",
        ".tree.parent? again 1",
    ] {
        assert!(shape.lines.iter().any(|found| found == line), "{line}: {shape:?}");
    }
}

#[test]
fn what_is_stored_alike_has_one_shape() {
    assert_eq!(complete::<before::Page>(), complete::<same_in_another_order::Renamed>());
    assert_eq!(complete::<Box<u8>>(), complete::<u8>());
    assert_eq!(complete::<HashMap<u8, String>>(), complete::<BTreeMap<u8, String>>());
    assert_eq!(complete::<HashSet<u8>>(), complete::<Vec<u8>>());
    for _ in 0..3 {
        assert_eq!(Shape::of::<before::Page>().hash(), Shape::of::<before::Page>().hash());
    }
}

#[test]
fn what_is_stored_otherwise_has_another_shape() {
    differ::<before::Page, one_more_field_deep_within::Page>();
    differ::<before::Kind, one_more_variant::Kind>();
    differ::<before::Kind, another_width::Kind>();
    differ::<u8, Option<u8>>();
    differ::<(u8, u8), [u8; 3]>();
    differ::<u32, u64>();
    differ::<String, u64>();
    assert_eq!(Shape::of_key::<u32>(), Shape::of_key::<i64>());
    assert_eq!(Shape::of_key::<(u32, Vec<i8>)>(), Shape::of_key::<(u64, Vec<u128>)>());
    assert_ne!(Shape::of_key::<u32>(), Shape::of_key::<String>());
    assert_ne!(Shape::of_key::<u32>(), Shape::of_key::<(u32,)>());
    assert_ne!(Shape::of_key::<u32>(), Shape::of_key::<f64>());
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape counts")]
enum Expression {
    Sum(Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    Number(i64),
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape counts")]
struct Chain(Option<Box<Chain>>);

#[derive(Deserialize)]
#[expect(dead_code, reason = "no value of it exists")]
struct Endless(Box<Endless>);

#[test]
fn types_that_hold_themselves_end() {
    complete::<Expression>();
    complete::<Chain>();
    complete::<Vec<Option<Expression>>>();
    assert!(!Shape::of::<Endless>().is_complete());
}

#[test]
fn types_that_check_their_values_are_found_by_samples() {
    complete::<(NonZeroU32, IpAddr, Duration, std::net::SocketAddr)>();
    complete::<Vec<HashMap<IpAddr, NonZeroU32>>>();
    complete::<std::ops::Range<u8>>();
    complete::<Result<u8, String>>();
    complete::<bytes::Bytes>();
    complete::<serde_json::Value>();
    complete::<(String, serde_json::Value, u8)>();
}

#[derive(Deserialize)]
#[serde(tag = "type")]
#[expect(dead_code, reason = "only its shape counts")]
enum Tagged {
    A { x: Option<u8> },
}

#[derive(Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its shape counts")]
enum Untagged {
    A { x: Option<u8> },
    B(String),
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape counts")]
struct Flat {
    id: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Picky;

impl TryFrom<String> for Picky {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "the only one" { Ok(Self) } else { text.parse::<u8>().and("x".parse::<u8>()).map(|_| Self) }
    }
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape counts")]
struct Holder {
    picky: Picky,
    more: Option<u8>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape counts")]
struct SmallHolder {
    picky: Picky,
}

struct Panics;

impl<'de> Deserialize<'de> for Panics {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("it always does")
    }
}

#[test]
fn what_hides_its_shape_is_incomplete() {
    for shape in [
        Shape::of::<Tagged>(),
        Shape::of::<Untagged>(),
        Shape::of::<Flat>(),
        Shape::of::<Picky>(),
        Shape::of::<Holder>(),
        Shape::of::<(Panics, u8)>(),
        Shape::of::<Vec<Tagged>>(),
    ] {
        assert!(!shape.is_complete(), "{shape:?}");
    }
    // The names of all fields are known even so.
    differ::<Holder, SmallHolder>();
}

//! Fuzz targets: bytes that a store gives back are of anyone who can write to it. No decoder panics, or allocates more
//! than its bytes account for; valid bytes come back as they were; bytes that are accepted have no second form, where the
//! format is canonical.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Debug,
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_bytes::ByteBuf;
use serde_json::Value;
use smache_fuzz::{Edits, bounded, damaged, damaged_text, fuzz};

use crate::{
    ChangeToken, Codec, Dependency, EntityKey, EntryId, Epoch, Epochs, ErrorKind, FeedId, FeedStep, FieldValue,
    FunctionKey, Incarnation, InvalidationAttempt, Page, Position, SourceId, Timestamp, UsedDependency, Via,
    call_key::{self, CallKey},
    canonical, codec,
    support::{EdgeChanges, clip, edges},
    tracking::{ChildCall, Meta},
};

const LIMIT: usize = 1 << 20;

/// A result with everything that formats disagree on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Unit,
    Text(String),
    Bytes(ByteBuf),
    Numbers(i64, u128, f64),
    Maybe(Option<Option<u16>>),
    Keyed(BTreeMap<(u8, bool), String>),
    Tree { name: String, branches: Vec<Shape> },
}

/// Nests without end in its bytes alone.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Nest(Vec<Nest>);

/// The numbers that a shape is made of.
type Seed = (u8, String, (i64, u128, u32), Vec<u8>);

fn shape(seeds: &[Seed]) -> Shape {
    let one = |(kind, text, (signed, wide, float), bytes): &Seed| match kind % 6 {
        0 => Shape::Unit,
        1 => Shape::Text(text.clone()),
        2 => Shape::Bytes(ByteBuf::from(bytes.clone())),
        3 => Shape::Numbers(*signed, *wide, f64::from(*float) / 8.0),
        4 => Shape::Maybe((*signed > 0).then(|| bytes.first().map(|byte| (*byte).into()))),
        _ => Shape::Keyed(bytes.iter().map(|byte| ((*byte, byte % 3 == 0), text.clone())).collect()),
    };
    let inner = |branches: Vec<Shape>, seed: &Seed| {
        let mut branches = branches;
        branches.push(one(seed));
        if seed.0 >= 0xc0 { vec![Shape::Tree { name: seed.1.clone(), branches }] } else { branches }
    };
    let branches = seeds.iter().take(40).fold(Vec::new(), inner);
    Shape::Tree { name: String::new(), branches }
}

/// Decodes bytes as a type, without a panic; a value that is accepted is one that encodes and decodes to the same bytes.
fn is_a_value_or_none<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) {
    let Ok(value) = bounded(bytes.len(), || canonical::from_slice::<T>(bytes)) else { return };
    let once = canonical::to_vec(&value, LIMIT).expect("a decoded value encodes");
    let again: T = canonical::from_slice(&once).expect("what was encoded decodes");
    assert_eq!(canonical::to_vec(&again, LIMIT).as_ref(), Ok(&once), "{value:?}");
}

#[test]
fn fuzz_canonical() {
    fuzz::<(Vec<Seed>, Edits, Vec<u8>)>(|(seeds, edits, random)| {
        let value = shape(seeds);
        let whole = canonical::to_vec(&value, LIMIT).expect("it encodes");
        assert_eq!(canonical::from_slice::<Shape>(&whole), Ok(value));
        for bytes in [damaged(&whole, edits), random.clone()] {
            is_a_value_or_none::<Shape>(&bytes);
            is_a_value_or_none::<Value>(&bytes);
            is_a_value_or_none::<(u8, Option<String>)>(&bytes);
            is_a_value_or_none::<Nest>(&bytes);
            drop(bounded(bytes.len(), || canonical::from_slice::<FieldValue>(&bytes)));
            if let Ok(elements) = bounded(bytes.len(), || canonical::elements(&bytes)) {
                let tuple = [&[0x16][..], &elements.concat(), &[0]].concat();
                assert!(tuple == bytes || elements.is_empty(), "the elements are the bytes of the tuple");
            }
            let key = EntityKey::from_canonical(&bytes);
            bounded(bytes.len(), || format!("{key} {key:?}"));
        }
    });
}

#[test]
fn fuzz_codec() {
    fuzz::<(Vec<Seed>, Edits, Vec<u8>, bool)>(|(seeds, edits, random, json)| {
        let value = shape(seeds);
        let preferred = if *json { Codec::Json } else { Codec::MessagePack };
        let whole = codec::encode(&value, preferred, LIMIT).expect("it encodes").bytes;
        assert_eq!(codec::decode::<Shape>(&whole).expect("it decodes"), value);
        let longer = [&whole[..], &[0xc0]].concat();
        assert_eq!(codec::decode::<Shape>(&longer).expect_err("it goes on behind its end").kind(), ErrorKind::Corrupt);
        for format in 0..5 {
            let bytes = damaged(&[&[format], &whole[1..]].concat(), edits);
            let random = [&[format], &random[..]].concat();
            for bytes in [bytes, random] {
                survives::<Shape>(&bytes);
                survives::<Nest>(&bytes);
                survives::<Value>(&bytes);
                survives::<(u8, Vec<u64>, Option<String>)>(&bytes);
            }
        }
    });
}

fn survives<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    match bounded(bytes.len(), || codec::decode::<T>(bytes)) {
        Ok(value) => drop(codec::encode(&value, Codec::Json, LIMIT)),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
    }
}

#[test]
fn fuzz_notes_of_the_engine() {
    type Parts = ([[u8; 16]; 2], u64, u64, [u8; 8], Vec<[u8; 8]>, Vec<[u8; 16]>);
    fuzz::<(Parts, Edits)>(|((hashes, cost, begun, form, called, children), edits)| {
        let meta = Meta {
            check: hashes[0],
            hash: hashes[1],
            cost: Duration::from_micros(*cost),
            begun: Timestamp::from_millis(*begun),
            form: *form,
            called: called.iter().map(|key| (FunctionKey::from_bytes(*key), *key)).collect(),
            child_calls: children.iter().map(|hash| ChildCall { id: id(*hash), hash: *hash }).collect(),
        };
        let whole = meta.write();
        assert_eq!(Meta::read(&whole), Some(meta));
        let bytes = damaged(&whole, edits);
        if let Some(other) = bounded(bytes.len(), || Meta::read(&bytes)) {
            assert_eq!(other.write(), bytes, "notes have one form");
        }
    });
}

fn id(call: [u8; 16]) -> EntryId {
    EntryId::new(FunctionKey::from_bytes([7; 8]), call)
}

fn source(name: &[u8]) -> SourceId {
    let name: String = name.iter().take(128).map(|byte| char::from(b'a' + byte % 26)).collect();
    SourceId::new(format!("s{}", clip(&name, 127))).expect("letters are a name")
}

#[test]
fn fuzz_epochs() {
    fuzz::<([u8; 16], Vec<(Vec<u8>, [u8; 16])>, Edits)>(|(global, sources, edits)| {
        let sources = sources.iter().map(|(name, epoch)| (source(name), Epoch::from_bytes(*epoch))).collect();
        let epochs = Epochs { global: Epoch::from_bytes(*global), sources };
        let whole = epochs.encode();
        assert_eq!(Epochs::decode(&whole), Some(epochs));
        let bytes = damaged(&whole, edits);
        if let Some(other) = bounded(bytes.len(), || Epochs::decode(&bytes)) {
            assert_eq!(other.encode(), bytes, "epochs have one form");
        }
    });
}

#[test]
fn fuzz_edges() {
    type Used = Vec<(u8, u8)>;
    fuzz::<([Used; 2], Edits)>(|([old, new], edits)| {
        let used = |of: &Used| {
            let one = |(number, via): &(u8, u8)| UsedDependency {
                dependency: Dependency::from_bytes([*number; 16]),
                via: [Via::Direct, Via::Child, Via::Guard][usize::from(via % 3)],
            };
            edges(&of.iter().map(one).collect::<Vec<_>>())
        };
        let (old, new) = (used(old), used(new));
        let whole = UsedDependency::encode_edges(&old);
        assert_eq!(UsedDependency::decode_edges(&whole).as_ref(), Some(&old));
        let changes = EdgeChanges::since(&whole, &new);
        let applied = |edges: Vec<UsedDependency>, changes: &EdgeChanges| -> BTreeMap<[u8; 16], bool> {
            let mut kept: BTreeMap<_, _> =
                edges.iter().map(|used| (*used.dependency.as_bytes(), used.via == Via::Child)).collect();
            kept.retain(|dependency, _| changes.removed.iter().all(|gone| gone.as_bytes() != dependency));
            kept.extend(changes.written.iter().map(|used| (*used.dependency.as_bytes(), used.via == Via::Child)));
            kept
        };
        let wanted = applied(new.clone(), &EdgeChanges::default());
        assert_eq!(applied(old, &changes), wanted, "the changes lead from the old edges to the new ones");
        let bytes = damaged(&whole, edits);
        let read = bounded(bytes.len(), || UsedDependency::decode_edges(&bytes));
        if let Some(other) = &read {
            assert_eq!(UsedDependency::encode_edges(other), bytes, "edges have one form");
        }
        let known = UsedDependency::edges_in(&bytes);
        let changes = EdgeChanges::since(&bytes, &new);
        let distinct: HashSet<_> = known.iter().map(|used| used.dependency).collect();
        if read.is_none() || distinct.len() == known.len() {
            assert_eq!(applied(known, &changes), wanted, "damage leaves no edge behind that can be read");
        }
    });
}

#[test]
fn fuzz_stored_calls() {
    fuzz::<(Vec<u8>, u32, (String, i64), Edits)>(|(name, version, args, edits)| {
        let name = source(name);
        let function = FunctionKey::from_bytes([3; 8]);
        let key = CallKey::of(function, name.as_str(), args, LIMIT).expect("it encodes");
        let whole = key.stored(name.as_str(), *version);
        let again = CallKey::read(key.id, &whole).expect("a call");
        assert_eq!((again.id, again.check, &again.args), (key.id, key.check, &key.args));
        let bytes = Bytes::from(damaged(&whole, edits));
        let read = bounded(bytes.len(), || CallKey::read(key.id, &bytes));
        assert!(read.is_err() || bytes.ends_with(&key.args), "only the arguments have their hash");
        let shown = bounded(bytes.len(), || call_key::describe(&key.id, &bytes));
        assert!(shown.chars().count() < 65_536 + 300, "it is cut");
    });
}

#[test]
fn fuzz_attempts() {
    fuzz::<([(Vec<u8>, u32); 2], Vec<u8>)>(|(steps, mark)| {
        let [one, other] = steps.each_ref().map(|(feed, fence)| FeedStep {
            feed: FeedId::new(source(feed).as_str()).expect("a name"),
            fence: (*fence).into(),
            leadership: Duration::ZERO,
            incarnation: Incarnation::new("incarnation"),
            positions: Vec::new(),
            valid_for: None,
            deadline: None,
            caught_up: false,
        });
        let earlier = InvalidationAttempt::next(Some(&one));
        let later = InvalidationAttempt::next(Some(&other));
        let reported = InvalidationAttempt::next(None);
        let is_earlier = one.feed == other.feed && one.fence <= other.fence;
        assert_eq!(later.ends(earlier.as_bytes()), is_earlier, "{one:?} before {other:?}");
        for attempt in [earlier, later, reported] {
            assert!(attempt.ends(attempt.as_bytes()));
            assert!(attempt.first_of_feed() < *attempt.as_bytes());
            assert!(!attempt.ends(mark) || mark.len() == InvalidationAttempt::LEN, "{mark:?} is no name");
        }
        assert!(!later.ends(reported.as_bytes()) && !reported.ends(later.as_bytes()));
    });
}

#[test]
fn fuzz_cursors_and_positions() {
    fuzz::<([Vec<u8>; 3], Edits)>(|([history, order, token], edits)| {
        let position = Position::new(history, order, token.clone());
        assert_eq!((position.place(), position.history().len()), (&order[..], Position::HISTORY));
        assert!(position.follows(&position));
        let order: Bytes = damaged(&position.order, edits).into();
        let other = Position { order, token: Bytes::new() };
        let rejoined = [other.history(), other.place()].concat();
        assert_eq!(rejoined, other.order);
        assert!(!(other.follows(&position) && position.follows(&other)) || other.order == position.order);
        let cursor = Page { cursor: Some(token.clone().into()), limit: 1 };
        match Page::id_in(token) {
            Ok(id) => assert_eq!(id.as_bytes()[..], token[..]),
            Err(error) => assert_eq!((error.kind(), cursor.limit), (ErrorKind::Argument, 1)),
        }
    });
}

#[test]
fn fuzz_change_tokens() {
    fuzz::<(u64, u64, u64, Edits)>(|(revision, namespace, generation, edits)| {
        let text = format!("{revision:x}-{namespace:016x}-{generation:016x}");
        let token: ChangeToken = text.parse().expect("a token");
        assert_eq!((token.to_string(), token.revision()), (text.clone(), *revision));
        let other = damaged_text(&text, edits);
        if let Ok(token) = bounded(other.len(), || other.parse::<ChangeToken>()) {
            assert_eq!(token.to_string(), other, "a token has one text");
        }
    });
}

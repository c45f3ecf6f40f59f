//! Fuzz targets: the values of a store come back as they were, and no damage to them makes their readers panic,
//! allocate more than the bytes hold, or take a second form for one value.

use std::fmt::Debug;

use bytes::Bytes;
use smache_core::{
    Dependency, EntryId, Epoch, Epochs, Incarnation, Position, RunFailure, SourceId, SourceValidity, Staleness,
    Timestamp, Token, UsedDependency, Validity, Via,
    protocol::{Head, Leader, Run, Wait},
};
use smache_fuzz::{Edits, bounded, damaged, fuzz};

use super::{
    programs,
    record::{Body, Lineage},
};
use crate::codec::Persisted;

/// The value comes back from its bytes; other bytes are nothing, or exactly the form of their value.
fn round<T: PartialEq + Debug>(
    value: &T,
    edits: &Edits,
    encode: impl Fn(&T) -> Bytes,
    decode: impl Fn(&Bytes) -> Option<T>,
) {
    let whole = encode(value);
    assert_eq!(decode(&whole).as_ref(), Some(value));
    let bytes = Bytes::from(damaged(&whole, edits));
    if let Some(other) = bounded(bytes.len(), || decode(&bytes)) {
        assert_eq!(encode(&other), bytes, "{other:?} has one form");
    }
}

fn persisted<T: Persisted + PartialEq + Debug>(value: &T, edits: &Edits) {
    round(value, edits, T::encode, T::decode);
}

fn sources<T>(named: &[(u8, T)]) -> impl Iterator<Item = (SourceId, &T)> {
    named.iter().map(|(name, rest)| (SourceId::new(format!("s{name}")).expect("a good name"), rest))
}

#[test]
fn fuzz_heads_of_records() {
    type Numbers = (u64, u8, u64, Option<u64>, Option<u64>, bool, u32, u32);
    type Parts = (Numbers, [u8; 16], Vec<(u8, [u8; 16])>, Option<(String, u64)>, Vec<String>);
    fuzz::<(Parts, Edits)>(|((numbers, global, epochs, failure, causes), edits)| {
        let (version, staleness, stored_at, since, expires, lazy, conflicts, failures) = *numbers;
        let head = Head {
            version,
            epochs: Epochs {
                global: Epoch::from_bytes(*global),
                sources: sources(epochs).map(|(source, epoch)| (source, Epoch::from_bytes(*epoch))).collect(),
            },
            staleness: [Staleness::Fresh, Staleness::MaybeStale, Staleness::Stale][usize::from(staleness % 3)],
            since: since.map(Timestamp::from_millis),
            stored_at: Timestamp::from_millis(stored_at),
            expires: expires.map(Timestamp::from_millis),
            lazy,
            conflicts,
            failures,
            last_failure: failure
                .as_ref()
                .map(|(message, at)| RunFailure { message: message.clone(), at: Timestamp::from_millis(*at) }),
            causes: causes.iter().map(|cause| cause.as_str().into()).collect(),
        };
        persisted(&head, edits);
    });
}

#[test]
fn fuzz_values_and_lineages() {
    type Parts = (Vec<u8>, Vec<u8>, Vec<([u8; 16], bool)>);
    fuzz::<(Parts, Edits)>(|((first, second, used), edits)| {
        let body = Body { value: first.clone().into(), meta: second.clone().into() };
        persisted(&body, edits);
        let one = |(dependency, direct): &([u8; 16], bool)| UsedDependency {
            dependency: Dependency::from_bytes(*dependency),
            via: if *direct { Via::Direct } else { Via::Child },
        };
        let lineage = Lineage { call: first.clone().into(), used: used.iter().map(one).collect() };
        persisted(&lineage, edits);
    });
}

#[test]
fn fuzz_runs() {
    type Parts = ([u8; 16], u64, u64, Vec<([u8; 24], [u8; 16], u64)>);
    fuzz::<(Parts, Edits)>(|((token, start_revision, until, waits), edits)| {
        let note = |(child, token, until): &([u8; 24], [u8; 16], u64)| Wait {
            child: EntryId::from_bytes(*child),
            token: Token::from_bytes(*token),
            until: Timestamp::from_millis(*until),
        };
        let run = Run {
            token: Token::from_bytes(*token),
            start_revision: *start_revision,
            until: Timestamp::from_millis(*until),
            waits: waits.iter().map(note).collect(),
        };
        persisted(&run, edits);
    });
}

#[test]
fn fuzz_the_state_of_feeds() {
    type Source = ([u8; 16], Option<String>, Option<u64>);
    type Parts = ([u8; 16], u64, u64, Vec<(u8, Source)>, Vec<u8>, Vec<u8>);
    fuzz::<(Parts, Edits)>(|((token, number, at, named, order, notes), edits)| {
        let until = Timestamp::from_millis(*at);
        let leader = Leader { holder: Token::from_bytes(*token), fence: *number >> 5, until };
        persisted(&leader, edits);
        let position = Position { order: order.clone().into(), token: notes.clone().into() };
        persisted(&position, edits);
        let notes = Bytes::from(notes.clone());
        round(&(until, notes), edits, |(until, notes)| programs::encode(*until, notes), programs::decode);

        let mut validity = Validity::new(Epoch::from_bytes(*token));
        validity.sources.extend(sources(named).map(|(source, (epoch, caught_up_on, valid_until))| {
            let epoch = Epoch::from_bytes(*epoch);
            let caught_up_on = caught_up_on.clone().map(Incarnation::new);
            let validity = match valid_until {
                Some(until) => SourceValidity::feed(epoch, caught_up_on, Timestamp::from_millis(*until)),
                None => SourceValidity::application(epoch, caught_up_on),
            };
            (source, validity)
        }));
        let whole = validity.encode();
        assert_eq!(Validity::decode(&whole), Some(validity));
        let bytes = Bytes::from(damaged(&whole, edits));
        // The sources may be in any order, and one of them twice.
        if let Some(other) = bounded(bytes.len(), || Validity::decode(&bytes)) {
            assert_eq!(Validity::decode(&other.encode()), Some(other));
        }
    });
}

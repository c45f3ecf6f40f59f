//! Fuzz targets: the answers of a server about a namespace, whatever is in its keys.

use redis::Value;
use smache_core::{Epoch, Epochs, SourceId, Staleness, Timestamp};
use smache_fuzz::{Edits, bounded, damaged, fuzz};

use super::{
    feeds::parse_position,
    record::{parse_entry, parse_record},
    validity::parse,
};
use crate::reply;

/// An answer of any kind, by a few numbers.
fn answer(seeds: &[(u8, Vec<u8>, i64)]) -> Value {
    let value = |(kind, bytes, number): &(u8, Vec<u8>, i64)| match kind % 8 {
        0 => Value::Nil,
        1 => Value::Int(*number),
        2 => Value::SimpleString(String::from_utf8_lossy(bytes).into_owned()),
        3 => Value::Okay,
        4 => Value::Map(vec![(Value::BulkString(bytes.clone()), Value::Int(*number))]),
        5 => Value::BulkString(number.to_string().into_bytes()),
        _ => Value::BulkString(bytes.clone()),
    };
    Value::Array(seeds.iter().map(value).collect())
}

#[test]
fn fuzz_records() {
    type Head = (u64, u64, u64, [u8; 16], Option<u8>, Option<bool>);
    type Parts = (Head, [Vec<u8>; 3], Vec<(u8, Vec<u8>)>);
    fuzz::<(Parts, u8, Edits)>(|((head, texts, more), which, edits)| {
        let (version, stored_at, expires, epoch, source, stale) = *head;
        let source =
            source.map(|name| (SourceId::new(format!("s{name}")).expect("a good name"), Epoch::from_bytes(epoch)));
        let epochs = Epochs { global: Epoch::from_bytes(epoch), sources: source.into_iter().collect() };
        let header =
            [&version.to_be_bytes()[..], &stored_at.to_be_bytes(), &expires.to_be_bytes(), &epochs.encode()].concat();
        let staleness = stale.map(|whole| format!("{}{stored_at}", if whole { 2 } else { 1 }).into_bytes());
        let [meta, value, _] = texts.clone();
        let fields = [Some(header), staleness, Some(meta), Some(value)];
        let values = |fields: &[Option<Vec<u8>>; 4]| -> Vec<Value> {
            fields.iter().map(|field| field.clone().map_or(Value::Nil, Value::BulkString)).collect()
        };
        let entry = parse_entry(values(&fields)).expect("whole").expect("there");
        assert_eq!((entry.version, entry.epochs), (version, epochs));
        assert_eq!((entry.stored_at.as_millis(), entry.since.is_some()), (stored_at, stale.is_some()));
        assert_eq!(entry.expires.map_or(0, Timestamp::as_millis), expires);
        assert_eq!(entry.staleness == Staleness::Fresh, stale.is_none());

        let mut fields = fields;
        let field = &mut fields[usize::from(which % 4)];
        *field = field.as_ref().map(|bytes| damaged(bytes, edits));
        let bytes = fields.iter().flatten().map(Vec::len).sum();
        let looked_up = bounded(bytes, || parse_entry(values(&fields)));

        // The whole record has the same fields and more, and a part of it may be missing.
        let names = [b"h", b"s", b"m", b"v"].map(|name| name.to_vec());
        let mut found: Vec<_> =
            names.into_iter().zip(fields).filter_map(|(name, field)| Some((name, field?))).collect();
        found.extend(more.iter().map(|(name, bytes)| (vec![b"kuczflnhsmv?"[usize::from(name % 12)]], bytes.clone())));
        let bytes: usize = found.iter().map(|(_, bytes)| bytes.len()).sum();
        let read = bounded(bytes + 64 * found.len(), || parse_record(found.clone()));
        if more.iter().all(|(name, _)| name % 12 < 7) && read.is_ok() {
            assert!(looked_up.is_ok(), "a look-up reads what a whole record has");
        }
    });
}

#[test]
fn fuzz_answers() {
    fuzz::<(Vec<(u8, Vec<u8>, i64)>, Vec<u8>, [u64; 2])>(|(seeds, bytes, [seconds, micros])| {
        let value = answer(seeds);
        let size: usize = seeds.iter().map(|(_, bytes, _)| bytes.len() + 64).sum();
        bounded(size, || parse(&value, "{ns}:v"));
        drop(bounded(size, || reply::fields(value.clone())));
        drop(bounded(size, || parse_entry(seeds.iter().map(|seed| answer(std::slice::from_ref(seed))).collect())));
        bounded(size, || reply::time(value.clone()));
        let texts = [seconds, micros].map(|number| Value::BulkString(number.to_string().into_bytes()));
        assert!(reply::time(Value::Array(texts.to_vec())).is_some(), "two numbers are a time");
        if let Some(position) = bounded(bytes.len(), || parse_position(bytes)) {
            let length = u32::try_from(position.order.len()).expect("it came from the bytes");
            let again = [&length.to_be_bytes()[..], &position.order, &position.token].concat();
            assert_eq!(again, *bytes, "a position has one form");
        }
    });
}

#[test]
fn fuzz_validity() {
    type Source = (u8, [u8; 16], bool, u64, String, Edits);
    fuzz::<([u8; 16], Vec<Source>)>(|(epoch, sources)| {
        let text = |bytes: &[u8]| Value::BulkString(bytes.to_vec());
        let mut fields = vec![text(b"e"), text(epoch)];
        for (name, epoch, feed, until, caught_up_on, edits) in sources {
            fields.push(text(format!("s:{name}").as_bytes()));
            let kind = if *feed { b"f" } else { b"a" };
            let whole = [&epoch[..], kind, &until.to_be_bytes(), caught_up_on.as_bytes()].concat();
            fields.push(text(&damaged(&whole, edits)));
        }
        let size: usize = sources.iter().map(|(.., caught_up_on, _)| caught_up_on.len() + 200).sum();
        let validity = bounded(size, || parse(&Value::Array(fields), "{ns}:v")).expect("of what can be read");
        assert_eq!(validity.epoch, Epoch::from_bytes(*epoch));
        assert!(validity.sources.len() <= sources.len());
    });
}

//! Fuzz targets: documents and events of a server, whatever is in its collections. A damaged one is corrupt or absent; no
//! reader of it panics, or allocates more than its bytes account for.

use std::sync::Arc;

use mongodb::{
    Client,
    bson::{Bson, Document, RawDocument, RawDocumentBuf, Timestamp, doc},
};
use serde::Deserialize;
use smache_core::{Change, EntityType, Epoch, Epochs, ErrorKind, Position, SourceId, Topic, support::LATEST};
use smache_fuzz::{Edits, bounded, damaged, damaged_text, fuzz};

use crate::{
    document::TopicReader,
    events::{Event, Watched},
    history::Identity,
    job,
    keys::{binary, changed_of, edge_of, entry_of},
    namespace::NamespaceDoc,
    position::{ClusterTime, Covers, Place},
    record,
};

#[derive(Debug, Deserialize)]
struct User {
    #[serde(rename = "_id")]
    id: i64,
    #[serde(rename = "name")]
    _name: String,
}

impl EntityType for User {
    type Id = i64;
    const SOURCE: &'static str = "people";

    fn id(&self) -> &i64 {
        &self.id
    }
}

/// A document with edits to its bytes, if it still is one.
fn edited(document: &Document, edits: &Edits) -> Option<RawDocumentBuf> {
    let whole = RawDocumentBuf::from_document(document).expect("a document");
    let bytes = damaged(whole.as_bytes(), edits);
    // The driver has checked the length of a reply before.
    RawDocument::from_bytes(&bytes).map(ToOwned::to_owned).ok()
}

/// A value in the place of one field of a document.
fn with_another(document: &Document, at: u8, value: Bson) -> Document {
    let mut document = document.clone();
    let name = document.keys().nth(usize::from(at) % document.len()).expect("it has fields").clone();
    document.insert(name, value);
    document
}

/// A value of any kind, by a few numbers.
fn any_value(kind: u8, number: i64, bytes: &[u8]) -> Bson {
    match kind % 9 {
        0 => Bson::Null,
        1 => Bson::Int64(number),
        2 => Bson::Int32(number as i32),
        3 => Bson::Double(number as f64),
        4 => Bson::String(String::from_utf8_lossy(bytes).into_owned()),
        5 => binary(bytes),
        6 => Bson::Array(vec![Bson::Null, Bson::Int64(number), binary(bytes)]),
        7 => {
            Bson::Array(vec![doc! { "name": "users", "epoch": binary(bytes), "until": number, "fence": number }.into()])
        }
        _ => doc! { "t": number }.into(),
    }
}

fn read_everything(document: &Document) {
    let _ = record::entry(document);
    let _ = record::record(document);
    let _ = record::epochs(document);
    let _ = job::found(document);
    let _ = job::listed(document);
    let _ = job::id_of(document);
}

#[test]
fn fuzz_documents_of_entries() {
    type Parts = (i64, i64, Vec<u8>, [u8; 16], Option<i64>, Vec<[u8; 16]>);
    fuzz::<(Parts, (u8, u8, i64, Vec<u8>), Edits)>(|((version, time, bytes, epoch, since, deps), other, edits)| {
        let source = SourceId::new("users").expect("a good name");
        let epoch = Epoch::from_bytes(*epoch);
        let epochs = Epochs { global: epoch, sources: vec![(source, epoch)] };
        let edge = |dependency: &[u8; 16]| binary([&[0; 8][..], dependency, b"1"].concat());
        let mut stored = doc! {
            "_id": binary([7; 32]), "n": 5_i64, "value": binary(&bytes[..]), "meta": binary(&bytes[..]), "call": binary(&bytes[..]),
            "version": version, "epochs": binary(epochs.encode()), "stale": i32::from(since.is_some()), "stored": time,
            "causes": ["a", "b"], "lazy": true, "conflicts": 1_i64, "failures": version, "failure": "paper", "failed": time,
            "deps": deps.iter().map(edge).collect::<Vec<_>>(),
            "job": { "n": 5_i64, "s": 1_i64, "l": 0_i64, "p": 0_i64, "at": time, "errors": version, "crashes": 0_i64 },
        };
        if let Some(since) = since {
            stored.insert("since", since);
        }
        let read = record::record(&stored).expect("a record").expect("there");
        assert_eq!((&read.entry.value[..], read.used.len()), (&bytes[..], deps.len()));
        assert_eq!((read.entry.epochs, read.entry.since.is_some()), (epochs, since.is_some()));
        job::listed(&stored).expect("a job");

        let (at, kind, number, bytes) = other;
        let other = with_another(&stored, *at, any_value(*kind, *number, bytes));
        read_everything(&other);
        if let Some(raw) = edited(&stored, edits)
            && let Ok(document) = Document::try_from(raw)
        {
            read_everything(&document);
        }
        let _ = (entry_of(bytes), edge_of(bytes), changed_of(bytes));
    });
}

#[test]
fn fuzz_namespaces() {
    type Parts = (i64, Vec<u8>, [u8; 16], String);
    fuzz::<(Parts, (u8, u8, i64, Vec<u8>), Edits)>(|((number, bytes, token, text), other, edits)| {
        let number = number.unsigned_abs() as i64 >> 4;
        let schema = doc! { "incarnation": text };
        let stored = doc! {
            "now": number, "epoch": binary(*token), "revision": number, "low_watermark": number, "rev": number,
            "walk": binary(&bytes[..]), "sweep": binary(&bytes[..]), "attached": number,
            "sources": [{ "name": "users", "epoch": binary(*token), "caught_up_on": text, "valid_until": number }],
            "positions": [{ "name": "users", "order": binary(&bytes[..]), "token": binary(&bytes[..]) }],
            "feeds": [{ "name": text, "holder": binary(*token), "fence": number, "until": number }],
        };
        let read = NamespaceDoc::read(&schema, &stored).expect("a namespace");
        let mut again = read.write();
        for name in ["now", "revision", "low_watermark", "rev", "attached"] {
            again.insert(name, number);
        }
        assert_eq!(format!("{:?}", NamespaceDoc::read(&schema, &again).expect("a namespace")), format!("{read:?}"));

        let (at, kind, other_number, bytes) = other;
        for document in [
            Some(with_another(&stored, *at, any_value(*kind, *other_number, bytes))),
            edited(&stored, edits).and_then(|raw| Document::try_from(raw).ok()),
        ] {
            match document.map(|document| NamespaceDoc::read(&schema, &document)) {
                Some(Ok(read)) => {
                    assert!(
                        read.leaders.values().all(|leader| leader.fence < LATEST),
                        "the next leader has another fence"
                    );
                    drop((read.write(), read.validity()));
                }
                Some(Err(error)) => assert_eq!(error.kind(), ErrorKind::Corrupt),
                None => {}
            }
        }
    });
}

#[test]
fn numbers_that_cannot_grow_are_damage() {
    let schema = doc! { "incarnation": "one" };
    let stored = doc! {
        "now": 5_i64, "epoch": binary([1; 16]), "revision": 7_i64, "low_watermark": 0_i64, "rev": 0_i64,
        "feeds": [{ "name": "feed", "holder": binary([1; 16]), "fence": 7_i64, "until": 9_i64 }],
    };
    let read = |document: &Document| NamespaceDoc::read(&schema, document).expect("a namespace");
    assert_eq!((read(&stored).revision, read(&stored).leaders["feed"].fence), (7, 7));
    let feed = doc! { "name": "feed", "holder": binary([1; 16]), "fence": i64::MAX, "until": 9_i64 };
    let damaged = doc! { "revision": i64::MAX, "feeds": [feed] };
    let damaged = stored.into_iter().chain(damaged).collect();
    assert_eq!((read(&damaged).revision, read(&damaged).leaders["feed"].fence), (5_000, 5), "by the time");
}

fn watched() -> Watched {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // Connects when it is first used, which it is not.
    let client = runtime.block_on(Client::with_uri_str("mongodb://127.0.0.1:1")).expect("a client");
    let reader = Arc::new(TopicReader::new::<User>(client.database("school")));
    let topic = Topic::new(SourceId::new("people").expect("a name"), "users").with_reader(reader as _);
    Watched::new("school", &[topic]).expect("topics of this crate")
}

#[test]
fn fuzz_events() {
    const OPERATIONS: [&str; 8] = ["insert", "update", "replace", "delete", "rename", "drop", "dropDatabase", "modify"];
    let watched = watched();
    let watched = std::panic::AssertUnwindSafe(&watched);
    type Parts = (u8, i64, [Option<String>; 2], Vec<String>);
    fuzz::<(Parts, (u8, u8, i64, Vec<u8>), Edits)>(|((operation, id, names, fields), other, edits)| {
        let operation = OPERATIONS[usize::from(operation % 8)];
        let image = |name: &Option<String>| name.as_ref().map(|name| doc! { "_id": id, "name": name });
        let [before, after] = names.each_ref().map(image);
        let updated: Document = fields.iter().map(|field| (field.replace('\0', "0"), Bson::Null)).collect();
        let event = doc! {
            "_id": { "_data": "82" }, "operationType": operation, "clusterTime": Timestamp { time: 7, increment: 1 },
            "ns": { "db": "school", "coll": "users" }, "to": { "db": "school", "coll": "users" },
            "documentKey": { "_id": id }, "fullDocumentBeforeChange": before, "fullDocument": after,
            "updateDescription": { "updatedFields": updated, "removedFields": fields, "truncatedArrays": [] },
        };
        let changes = |raw: &RawDocument| -> Option<Vec<Change>> {
            bounded(4 * raw.as_bytes().len(), || Event::read(raw).ok().map(|event| watched.changes(&event)))
        };
        let whole = RawDocumentBuf::from_document(&event).expect("an event");
        let told = changes(&whole).expect("it is one");
        assert!(!told.is_empty(), "{operation} has a change");
        let (at, kind, number, bytes) = other;
        let other = with_another(&event, *at, any_value(*kind, *number, bytes));
        changes(&RawDocumentBuf::from_document(&other).expect("an event"));
        if let Some(raw) = edited(&event, edits) {
            changes(&raw);
        }
    });
}

#[test]
fn fuzz_positions() {
    fuzz::<(Vec<u8>, String, (u32, u32), [Edits; 2])>(|(bytes, text, (time, increment), [edits, others])| {
        let at = ClusterTime::from(Timestamp { time: *time, increment: *increment });
        let sorted = format!(
            "82{time:08x}{increment:08x}{}",
            bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        );
        for data in [sorted, text.clone()] {
            let token = |data: &str| RawDocumentBuf::from_document(&doc! { "_data": data }).expect("a token");
            let whole = token(&data);
            let mut place = Place::start(&whole, at, &Identity::default());
            place.complete();
            let position = place.position();
            assert_eq!(Place::restored(&position).expect("a place").position(), position);

            let order = damaged(&position.order, edits).into();
            let saved = damaged(&position.token, others).into();
            for position in [Position { order, ..position.clone() }, Position { token: saved, ..position.clone() }] {
                let Ok(mut place) = Place::restored(&position) else { continue };
                let other = token(&damaged_text(&data, edits));
                place.advance(&other, Some(at));
                place.advance(&whole, None);
                place.complete();
                let _ = (place.time(), place.unread(), place.token(), Covers::of(&other));
                place.position();
            }
        }
    });
}

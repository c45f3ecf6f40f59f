//! Fuzz targets: lines of a table's history, which any client of the server can write, as changes.

use redis::Value;
use serde::Deserialize;
use smache_core::{ChangeKind, EntityKey, EntityType, SourceId};
use smache_fuzz::{Edits, bounded, damaged, fuzz};

use super::{
    feed::{Place, line},
    line::{Line, Reader},
};

#[derive(Debug, Deserialize)]
struct User {
    id: i64,
    #[serde(rename = "name")]
    _name: String,
}

impl EntityType for User {
    type Id = i64;
    const SOURCE: &'static str = "users";

    fn id(&self) -> &i64 {
        &self.id
    }
}

#[test]
fn fuzz_lines_of_a_history() {
    type Parts = ([u64; 4], i64, [Option<String>; 2]);
    fuzz::<(Parts, u8, Edits)>(|(([millis, number, before_millis, before_number], id, names), which, edits)| {
        let source = SourceId::new("users").expect("a good name");
        let stored =
            |name: &Option<String>| name.as_ref().map(|name| serde_json::json!({ "id": id, "name": name }).to_string());
        let [before, after] = names.each_ref().map(stored);
        let mut fields = vec![("p", format!("{before_millis}-{before_number}")), ("k", id.to_string())];
        fields.extend(before.clone().map(|before| ("b", before)));
        fields.extend(after.clone().map(|after| ("a", after)));
        let answer = |place: Vec<u8>, fields: Vec<(Vec<u8>, Vec<u8>)>| {
            let parts = fields.into_iter().flat_map(|(name, value)| [name, value]).map(Value::BulkString);
            Value::Array(vec![Value::BulkString(place), Value::Array(parts.collect())])
        };
        let bytes = |fields: &[(&str, String)]| -> Vec<(Vec<u8>, Vec<u8>)> {
            fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.clone().into_bytes())).collect()
        };
        let place = format!("{millis}-{number}").into_bytes();
        let (at, behind, whole) = line(answer(place.clone(), bytes(&fields))).expect("a line");
        assert_eq!(at.to_string().into_bytes(), place);
        assert_eq!(behind.expect("a place").to_string(), fields[0].1);
        assert_eq!(Place::of(at.position(b"token").place()), Some(at));
        let change = Reader::of::<User>().change(&source, &whole);
        let kind = match (&before, &after) {
            (None, None) => ChangeKind::Reset,
            (None, Some(_)) => ChangeKind::Insert,
            (Some(_), Some(_)) => ChangeKind::Update,
            (Some(_), None) => ChangeKind::Delete,
        };
        assert_eq!(change.kind, kind);
        if kind != ChangeKind::Reset {
            assert_eq!(change.key, EntityKey::encode(id).expect("a key"));
        }

        // Damaged, it is no line, or a change of the source all the same.
        let mut damaged_fields = bytes(&fields);
        let at = usize::from(*which) % damaged_fields.len();
        damaged_fields[at].1 = damaged(&damaged_fields[at].1, edits);
        let size: usize = damaged_fields.iter().map(|(_, value)| value.len() + 64).sum();
        bounded(4 * size, || {
            if let Some((_, _, line)) = line(answer(damaged(&place, edits), damaged_fields)) {
                assert_eq!(Reader::of::<User>().change(&source, &line).source, source);
            }
        });
    });
}

#[test]
fn fuzz_places() {
    fuzz::<(Vec<u8>, [Option<Vec<u8>>; 2])>(|(bytes, [before, after])| {
        if let Some(place) = bounded(bytes.len(), || Place::of(bytes)) {
            assert_eq!(place.position(b"").place(), bytes, "a place has one form");
        }
        if let Some(place) = bounded(bytes.len(), || Place::read(bytes)) {
            assert_eq!(Place::read(place.to_string().as_bytes()), Some(place));
        }
        let source = SourceId::new("users").expect("a good name");
        let line = Line { id: bytes.clone(), before: before.clone(), after: after.clone() };
        assert_eq!(Reader::of::<User>().change(&source, &line).source, source);
    });
}

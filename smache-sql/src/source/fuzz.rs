//! Fuzz target: recorded rows, which any writer of a table decides on, as changes of entities.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use smache_core::{ChangeKind, EntityKey, EntityType, SourceId, Topic};
use smache_fuzz::{Edits, bounded, damaged_text, fuzz};

use super::{
    changes::{Recorded, TopicReader, Watched},
    row::{Shape, differing, scalars_of},
};

#[derive(Debug, Deserialize)]
struct User {
    id: (i64, String),
    #[serde(rename = "name")]
    _name: Option<String>,
    #[serde(rename = "grade")]
    _grade: f64,
}

impl EntityType for User {
    type Id = (i64, String);
    const SOURCE: &'static str = "users";

    fn id(&self) -> &(i64, String) {
        &self.id
    }
}

#[derive(Debug, Deserialize)]
struct Number {
    id: i64,
    #[serde(flatten)]
    _rest: Value,
}

impl EntityType for Number {
    type Id = i64;
    const SOURCE: &'static str = "numbers";

    fn id(&self) -> &i64 {
        &self.id
    }
}

fn watched<T: EntityType + serde::de::DeserializeOwned>(ids: &[&str]) -> Watched<()> {
    let topic = Topic::new(SourceId::of::<T>(), "rows");
    let shape = Shape { ids: ids.iter().map(|id| (*id).to_owned()).collect(), numbers: Default::default() };
    Watched::new(&[topic], vec![TopicReader::new::<T>(Arc::new(()))], vec![Arc::new(shape)])
}

#[test]
fn fuzz_recorded_rows() {
    let numbers = watched::<Number>(&["id"]);
    let users = watched::<User>(&["id", "name"]);
    let all = std::panic::AssertUnwindSafe([&numbers, &users]);
    type Image = (i64, Option<String>, f64);
    fuzz::<([Option<Image>; 2], bool, Edits)>(|(images, first, edits)| {
        let stored =
            |(id, name, grade): &Image| serde_json::json!({ "id": id, "name": name, "grade": grade }).to_string();
        let [before, after] = images.each_ref().map(|image| image.as_ref().map(stored));
        let recorded = |before: &Option<String>, after: &Option<String>| Recorded {
            table: "rows".to_owned(),
            before: before.clone(),
            after: after.clone(),
        };
        let changes = all[0].changes(&recorded(&before, &after));
        match images {
            [None, None] => assert_eq!(changes[0].kind, ChangeKind::Reset),
            [Some(before), Some(after)] if before.0 == after.0 => {
                assert_eq!(changes.len(), usize::from(before != after));
            }
            images => assert_eq!(changes.len(), images.iter().flatten().count()),
        }
        for change in changes.iter().filter(|change| change.kind != ChangeKind::Reset) {
            let of = |image: &Image| EntityKey::encode(&image.0).expect("a key") == change.key;
            assert!(images.iter().flatten().any(of), "{change:?} is of one of the rows");
        }

        let edit = |row: &Option<String>| row.as_ref().map(|row| damaged_text(row, edits));
        let (before, after) = if *first { (edit(&before), after) } else { (before, edit(&after)) };
        let size = before.iter().chain(&after).map(String::len).sum::<usize>() + 200;
        for watched in *all {
            bounded(4 * size, || assert!(watched.changes(&recorded(&before, &after)).len() <= 2));
        }
        if let (Some(before), Some(after)) = (&before, &after) {
            assert_eq!(
                differing(before, after).is_some_and(|fields| fields.is_empty()),
                differing(after, before).is_some_and(|fields| fields.is_empty())
            );
        }
    });
}

#[test]
fn fuzz_ids_as_columns() {
    fuzz::<(i64, String, Vec<u8>)>(|(number, text, _)| {
        let ids = ["id", "name"].map(str::to_owned);
        let key = EntityKey::encode(&(number, text)).expect("a key");
        assert_eq!(
            scalars_of::<User>(&key, &ids).expect("two scalars"),
            [Value::from(*number), Value::from(text.as_str())]
        );
        let _ = scalars_of::<Number>(&key, &ids[..1]);
    });
}

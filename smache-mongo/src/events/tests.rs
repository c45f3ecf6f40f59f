use std::sync::Arc;

use mongodb::{
    Client,
    bson::{Bson, RawDocumentBuf, Timestamp},
};
use serde::Deserialize;
use smache_core::{EntityKey, EntityType};

use super::*;

#[derive(Debug, Deserialize)]
struct User {
    #[serde(rename = "_id")]
    id: i64,
    name: String,
}

impl EntityType for User {
    type Id = i64;
    const SOURCE: &'static str = "people";

    fn id(&self) -> &i64 {
        &self.id
    }
}

/// Watches `users` for `people` and for `members`, and `grades` for `grades`; all of them read users.
async fn watched() -> Watched {
    // Connects when it is first used, which it is not.
    let client = Client::with_uri_str("mongodb://127.0.0.1:1").await.expect("a client");
    let reader = Arc::new(TopicReader::new::<User>(client.database("school")));
    let topic = |source: &str, collection: &str| {
        Topic::new(SourceId::new(source).expect("a name"), collection).with_reader(Arc::clone(&reader) as _)
    };
    let topics = [topic("people", "users"), topic("members", "users"), topic("grades", "grades")];
    Watched::new("school", &topics).expect("topics of this crate")
}

/// The changes of an event, each as the source, the kind, the key, the images and the fields.
async fn told(mut event: Document) -> Vec<String> {
    event.insert("_id", doc! { "_data": "82" });
    event.insert("clusterTime", Timestamp { time: 7, increment: 1 });
    let raw = RawDocumentBuf::from_document(&event).expect("an event");
    let event = Event::read(&raw).expect("an event");
    let told = watched().await.changes(&event).iter().map(line).collect::<Vec<_>>();
    told.into_iter().filter(|line| !line.starts_with("members")).collect()
}

fn line(change: &Change) -> String {
    let image = |snapshot: &Snapshot| match snapshot {
        Snapshot::Unknown => "?".to_owned(),
        Snapshot::Absent => "-".to_owned(),
        Snapshot::Known(image) => image.get::<User>().expect("a user").name.clone(),
    };
    let Change { source, key, kind, before, after, fields, .. } = change;
    let key = if *key == EntityKey::empty() { "all".to_owned() } else { key.to_string() };
    let fields = fields.as_ref().map_or(String::new(), |fields| format!(" [{}]", fields.join(" ")));
    format!("{source} {key} {} {}→{}{fields}", kind.verb(), image(before), image(after))
}

fn event(operation: &str, collection: &str) -> Document {
    doc! { "operationType": operation, "ns": { "db": "school", "coll": collection }, "documentKey": { "_id": 7_i64 } }
}

fn with(mut event: Document, parts: Document) -> Document {
    event.extend(parts);
    event
}

fn user(name: &str) -> Document {
    doc! { "_id": 7_i64, "name": name }
}

#[tokio::test]
async fn a_change_is_told_with_its_images() {
    let both = doc! { "fullDocument": user("new"), "fullDocumentBeforeChange": user("old") };
    let insert = with(event("insert", "users"), doc! { "fullDocument": user("new") });
    assert_eq!(told(insert).await, ["people 7 inserted -→new"]);
    assert_eq!(told(with(event("update", "users"), both.clone())).await, ["people 7 updated old→new"]);
    assert_eq!(told(with(event("replace", "users"), both)).await, ["people 7 updated old→new [name]"]);
    let delete = with(event("delete", "users"), doc! { "fullDocumentBeforeChange": user("old") });
    assert_eq!(told(delete).await, ["people 7 deleted old→-"]);
}

#[tokio::test]
async fn images_that_the_collection_does_not_keep_are_unknown() {
    let null = doc! { "fullDocument": Bson::Null, "fullDocumentBeforeChange": Bson::Null };
    assert_eq!(told(with(event("update", "users"), null)).await, ["people 7 updated ?→?"]);
    assert_eq!(told(event("delete", "users")).await, ["people 7 deleted ?→-"]);
}

#[tokio::test]
async fn an_update_tells_the_top_level_fields() {
    let update = |description: Document| with(event("update", "users"), doc! { "updateDescription": description });
    let description = doc! {
        "updatedFields": { "address.city": 1, "address.street": 2, "name": "x" },
        "removedFields": ["age", "list.0"],
        "truncatedArrays": [{ "field": "marks.maths", "newSize": 2 }],
    };
    assert_eq!(told(update(description)).await, ["people 7 updated ?→? [address age list marks name]"]);
    assert_eq!(told(update(doc! { "updatedFields": {}, "removedFields": [] })).await, ["people 7 updated ?→?"]);
    assert_eq!(told(update(doc! { "updatedFields": {}, "removedFields": [7] })).await, ["people 7 updated ?→?"]);
}

#[tokio::test]
async fn a_replacement_tells_the_fields_in_which_the_images_differ() {
    let replace = |before: Document, after: Document| {
        let images =
            doc! { "fullDocument": with(user("x"), after), "fullDocumentBeforeChange": with(user("x"), before) };
        with(event("replace", "users"), images)
    };
    let before = doc! { "age": 7, "same": [1, 2], "gone": 1, "nested": { "a": 1, "b": 2 } };
    let after = doc! { "age": 7_i64, "same": [1, 2], "new": 1, "nested": { "a": 1, "b": 3 } };
    assert_eq!(told(replace(before, after)).await, ["people 7 updated x→x [age gone nested new]"]);
    let one = doc! { "a": 1, "b": 2 };
    let other = doc! { "b": 2, "a": 1 };
    assert_eq!(told(replace(one, other)).await, ["people 7 updated x→x"], "the order of the fields is none of them");
    let after = doc! { "fullDocument": user("new") };
    assert_eq!(told(with(event("replace", "users"), after)).await, ["people 7 updated ?→new"]);
}

#[tokio::test]
async fn a_document_that_is_not_an_entity_is_told_all_the_same() {
    let odd = with(event("insert", "users"), doc! { "fullDocument": { "_id": 7_i64 } });
    assert_eq!(told(odd).await, ["people 7 inserted -→?"]);
    let foreign = with(event("insert", "users"), doc! { "documentKey": { "_id": "seven" } });
    assert_eq!(told(foreign).await, ["people \"seven\" inserted -→?"]);
    let nameless = with(event("insert", "users"), doc! { "documentKey": { "_id": f64::NAN } });
    assert_eq!(told(nameless).await, ["people all reset ?→?"]);
    let keyless = with(event("insert", "users"), doc! { "documentKey": Bson::Null });
    assert_eq!(told(keyless).await, ["people all reset ?→?"]);
}

#[tokio::test]
async fn the_image_of_another_document_is_not_taken() {
    let other = with(event("insert", "users"), doc! { "fullDocument": { "_id": 8_i64, "name": "x" } });
    assert_eq!(told(other).await, ["people 7 inserted -→?"]);
}

#[tokio::test]
async fn what_happens_to_a_whole_collection_resets_its_sources() {
    assert_eq!(told(event("drop", "users")).await, ["people all reset ?→?"]);
    assert_eq!(told(event("somethingNew", "users")).await, ["people all reset ?→?"]);
    for operation in ["dropDatabase", "invalidate"] {
        let mut all = told(doc! { "operationType": operation }).await;
        all.sort();
        assert_eq!(all, ["grades all reset ?→?", "people all reset ?→?"]);
    }
}

#[tokio::test]
async fn a_rename_resets_the_old_and_the_new_name() {
    let rename = |from: &str, database: &str, to: &str| {
        with(event("rename", from), doc! { "to": { "db": database, "coll": to } })
    };
    assert_eq!(told(rename("users", "school", "archive")).await, ["people all reset ?→?"]);
    assert_eq!(told(rename("users_new", "school", "users")).await, ["people all reset ?→?"]);
    assert_eq!(told(rename("users", "school", "grades")).await, ["people all reset ?→?", "grades all reset ?→?"]);
    assert_eq!(told(rename("users_new", "elsewhere", "users")).await, Vec::<String>::new());
}

#[tokio::test]
async fn every_source_of_a_collection_hears_of_its_changes() {
    let raw = with(event("delete", "users"), doc! { "_id": { "_data": "82" } });
    let raw = RawDocumentBuf::from_document(&raw).expect("an event");
    let watched = watched().await;
    let changes = watched.changes(&Event::read(&raw).expect("an event"));
    let mut sources: Vec<&str> = changes.iter().map(|change| change.source.as_str()).collect();
    sources.sort_unstable();
    assert_eq!(sources, ["members", "people"]);
}

#[test]
fn a_source_of_another_kind_is_refused_on_this_feed() {
    let topic = Topic::new(SourceId::new("rows").expect("a name"), "rows").with_reader(Arc::new(7));
    let error = Watched::new("school", &[topic]).expect_err("not of MongoDB");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`rows`") && error.to_string().contains("a separate feed"), "{error}");
}

#[test]
fn an_event_without_a_token_is_an_error() {
    let raw = RawDocumentBuf::from_document(&event("insert", "users")).expect("an event");
    assert_eq!(Event::read(&raw).expect_err("no token").kind(), ErrorKind::Corrupt);
}

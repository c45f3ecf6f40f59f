use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct User {
    id: i64,
    name: String,
}

impl EntityType for User {
    type Id = i64;
    const SOURCE: &'static str = "users";

    fn id(&self) -> &i64 {
        &self.id
    }
}

fn told(before: Option<&str>, after: Option<&str>) -> Vec<String> {
    let topic = Topic::new(SourceId::new("users").expect("a name"), "people");
    let reader = TopicReader::new::<User>(Arc::new(()));
    let watched = Watched::new(
        &[topic],
        vec![reader],
        vec![Arc::new(Shape { ids: vec!["id".to_owned()], numbers: Default::default() })],
    );
    let recorded =
        Recorded { table: "people".to_owned(), before: before.map(str::to_owned), after: after.map(str::to_owned) };
    let image = |snapshot: &Snapshot| match snapshot {
        Snapshot::Unknown => "?".to_owned(),
        Snapshot::Absent => "-".to_owned(),
        Snapshot::Known(image) => image.get::<User>().expect("a user").name.clone(),
    };
    let show = |change: Change| {
        let fields = change.fields.map_or_else(String::new, |fields| format!(" [{}]", fields.join(" ")));
        format!("{} {} {}→{}{fields}", change.kind.verb(), change.key, image(&change.before), image(&change.after))
    };
    assert!(watched.changes(&Recorded { table: "others".to_owned(), ..recorded_copy(&recorded) }).is_empty());
    watched.changes(&recorded).into_iter().map(show).collect()
}

fn recorded_copy(recorded: &Recorded) -> Recorded {
    Recorded { table: recorded.table.clone(), before: recorded.before.clone(), after: recorded.after.clone() }
}

const ANNA: &str = r#"{"id":1,"name":"Anna"}"#;
const ANNE: &str = r#"{"id":1,"name":"Anne"}"#;
const MOVED: &str = r#"{"id":2,"name":"Anna"}"#;

#[test]
fn images_say_what_happened() {
    assert_eq!(told(None, Some(ANNA)), ["inserted 1 -→Anna"]);
    assert_eq!(told(Some(ANNA), Some(ANNE)), ["updated 1 Anna→Anne [name]"]);
    assert_eq!(told(Some(ANNE), None), ["deleted 1 Anne→-"]);
    assert_eq!(told(None, None).len(), 1, "a reset");
}

#[test]
fn another_id_is_another_entity() {
    assert_eq!(told(Some(ANNA), Some(MOVED)), ["deleted 1 Anna→-", "inserted 2 -→Anna"]);
}

#[test]
fn a_row_that_stays_as_it_was_is_no_change() {
    assert!(told(Some(ANNA), Some(ANNA)).is_empty());
}

#[test]
fn rows_that_are_not_entities_are_told_without_images() {
    assert_eq!(told(None, Some(r#"{"id":1}"#)), ["inserted 1 -→?"]);
    assert_eq!(told(Some(r#"{"id":"x","name":"Anna"}"#), None), ["deleted \"x\" ?→-"]);
    assert!(told(None, Some(r#"{"name":"Anna"}"#))[0].starts_with("reset"));
    assert!(told(Some("{"), None)[0].starts_with("reset"));
}

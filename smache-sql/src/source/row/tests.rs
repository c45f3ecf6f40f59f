use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct User {
    id: i64,
    #[serde(default)]
    name: Option<String>,
}

impl EntityType for User {
    type Id = i64;
    const SOURCE: &'static str = "users";

    fn id(&self) -> &i64 {
        &self.id
    }
}

/// An entity with another id than the column.
#[derive(Deserialize)]
struct Renamed {
    number: i64,
}

impl EntityType for Renamed {
    type Id = i64;
    const SOURCE: &'static str = "renamed";

    fn id(&self) -> &i64 {
        &self.number
    }
}

fn shape() -> Shape {
    Shape { ids: vec!["id".to_owned()], numbers: NumberColumns::new() }
}

#[test]
fn a_row_is_read_by_its_id_column() {
    let (key, image) = image_of::<User>(r#"{"id":9007199254740993,"name":"Änne \u0000"}"#, &shape()).expect("a user");
    assert_eq!(key, EntityKey::encode(&9_007_199_254_740_993_i64).expect("a key"));
    let user = image.get::<User>().expect("a user");
    assert_eq!((user.id, user.name.as_deref()), (9_007_199_254_740_993, Some("Änne \0")));
}

#[test]
fn an_id_that_is_not_the_key_of_the_row_is_an_error() {
    let error = image_of::<Renamed>(r#"{"id":1,"number":2}"#, &shape()).expect_err("another id");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("`id`") && error.to_string().contains("mark the field"), "{error}");
    let error = key_of::<User>(r#"{"id":"one"}"#, &shape()).expect_err("not a number");
    assert!(error.to_string().contains("\"one\""), "{error}");
    let error = key_of::<User>(r#"{"name":"x"}"#, &shape()).expect_err("no id");
    assert!(error.to_string().contains("no column `id`"), "{error}");
}

#[test]
fn rows_differ_in_what_is_written() {
    let fields = |before, after| differing(before, after).expect("rows");
    assert_eq!(fields(r#"{"id":1,"a":1,"b":null}"#, r#"{"id":1,"a":1,"b":null}"#), Vec::<String>::new());
    assert_eq!(fields(r#"{"id":1,"a":1,"b":null}"#, r#"{"id":1,"a":1.0,"b":""}"#), ["a", "b"]);
    let digits = (r#"{"n":12345678901234567890123}"#, r#"{"n":12345678901234567890124}"#);
    assert_eq!(fields(digits.0, digits.1), ["n"]);
    assert_eq!(fields(r#"{"a":1}"#, r#"{"a":1,"new":2}"#), ["new"]);
    assert_eq!(differing("{", "{}"), None);
}

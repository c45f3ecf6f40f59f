use mongodb::bson::{Binary, doc, oid::ObjectId, rawdoc, spec::BinarySubtype};

use super::*;

/// An entity by any type of id.
#[derive(Debug, Deserialize)]
#[serde(bound = "I: DeserializeOwned")]
struct Thing<I> {
    #[serde(rename = "_id")]
    id: I,
    name: String,
}

impl<I> EntityType for Thing<I>
where
    I: Serialize + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static,
{
    type Id = I;
    const SOURCE: &'static str = "things";

    fn id(&self) -> &I {
        &self.id
    }
}

/// A type that is text for people and bytes for machines, as `Uuid` is.
#[derive(Debug, Clone, PartialEq)]
struct Code(u8);

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            self.0.to_string().serialize(serializer)
        } else {
            serializer.serialize_bytes(&[self.0])
        }
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        use serde::de::Error;
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
        } else {
            Binary::deserialize(deserializer).map(|binary| Self(binary.bytes[0]))
        }
    }
}

fn there_and_back<I>(id: &I) -> Bson
where
    I: Serialize + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static,
{
    let key = EntityKey::encode(id).expect("a key");
    let bson = id_of::<Thing<I>>(&key).expect("an `_id`");
    let mut document = doc! { "_id": bson.clone(), "name": "x" };
    let raw = bson::RawDocumentBuf::from_document(&document).expect("a document");
    assert_eq!(key_of::<Thing<I>>(&raw).expect("the key of it"), key, "{id:?}");
    let (read, image) = image_of::<Thing<I>>(&raw).expect("an image");
    assert_eq!((read, image.get::<Thing<I>>().expect("a thing").name.as_str()), (key, "x"), "{id:?}");
    document.remove("_id").expect("the `_id`")
}

#[test]
fn ids_of_every_type_come_back_as_the_same_key() {
    let oid = ObjectId::parse_str("507f1f77bcf86cd799439011").expect("an object id");
    assert_eq!(there_and_back(&oid), Bson::ObjectId(oid));
    assert_eq!(there_and_back(&"anna".to_owned()), Bson::String("anna".to_owned()));
    assert_eq!(there_and_back(&7_i64), Bson::Int64(7));
    assert_eq!(there_and_back(&7_i32), Bson::Int32(7));
    assert_eq!(there_and_back(&Code(7)), Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![7] }));
    there_and_back(&("course".to_owned(), 7_i32));
    there_and_back(&7_u32);
    there_and_back(&Some(true));
}

#[test]
fn an_integer_of_another_width_in_the_database_is_the_same_id() {
    let document = rawdoc! { "_id": 7_i32, "name": "x" };
    let key = key_of::<Thing<i64>>(&document).expect("a key");
    assert_eq!(key, EntityKey::encode(&7_i64).expect("a key"));
}

#[test]
fn a_document_that_cannot_be_read_is_named() {
    let error = image_of::<Thing<i64>>(&rawdoc! { "_id": 7_i64 }).expect_err("no name");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("`things`") && error.to_string().contains("id: 7"), "{error}");
    assert!(error.report().contains("missing field `name`"), "{}", error.report());
}

#[test]
fn an_id_that_is_not_the_id_of_the_document_is_refused() {
    #[derive(Debug, Deserialize)]
    struct Odd {
        name: String,
    }
    impl EntityType for Odd {
        type Id = String;
        const SOURCE: &'static str = "odd";
        fn id(&self) -> &String {
            &self.name
        }
    }
    let error = image_of::<Odd>(&rawdoc! { "_id": "anna", "name": "Anna" }).expect_err("two ids");
    assert!(error.to_string().contains("mark the field that is stored as `_id`"), "{error}");
    assert!(image_of::<Odd>(&rawdoc! { "_id": "anna", "name": "anna" }).is_ok());
}

#[test]
fn a_foreign_id_has_a_key_of_its_own_where_it_can_have_one() {
    let keys: Vec<_> = [rawdoc! { "_id": "anna" }, rawdoc! { "_id": 7 }, rawdoc! { "_id": { "a": 1 } }]
        .iter()
        .map(|document| foreign_key(document).expect("a key"))
        .collect();
    assert!(keys.iter().enumerate().all(|(index, key)| !keys[..index].contains(key)), "{keys:?}");
    assert_eq!(foreign_key(&rawdoc! { "_id": f64::NAN }), None);
    assert_eq!(foreign_key(&rawdoc! { "x": 1 }), None);
}

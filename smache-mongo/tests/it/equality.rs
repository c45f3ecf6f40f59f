//! A predicate finds the documents that the server takes for equal, and their changes affect it.

use std::{collections::BTreeSet, fmt::Debug, str::FromStr};

use mongodb::{
    bson::{Binary, Bson, DateTime, Decimal128, Document, doc, oid::ObjectId, spec::BinarySubtype},
    options::Collation,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use smache_core::{DataSource, EntityType, ErrorKind, Field, Image};
use smache_mongo::MongoSource;

use crate::world::World;

#[derive(Debug, Serialize, Deserialize)]
struct Holder<V> {
    #[serde(rename = "_id")]
    id: i64,
    value: V,
}

impl<V: Send + Sync + 'static> EntityType for Holder<V> {
    type Id = i64;
    const SOURCE: &'static str = "holders";

    fn id(&self) -> &i64 {
        &self.id
    }
}

/// A type of values that a field can have.
trait Value: Debug + Clone + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<V: Debug + Clone + Serialize + DeserializeOwned + Send + Sync + 'static> Value for V {}

fn value<V: Value>() -> Field<Holder<V>, V> {
    Field::new("value", |holder| &holder.value)
}

fn ids<V: Value>(images: &[Image]) -> BTreeSet<i64> {
    images.iter().map(|image| image.get::<Holder<V>>().expect("a holder").id).collect()
}

/// Searches for each of the values among documents with the stored ones. `None`: the document has no such field.
async fn check<V: Value>(world: &World, stored: Vec<Option<Bson>>, values: Vec<V>) {
    let holders = world.documents("holders");
    holders.delete_many(doc! {}).await.expect("a deletion");
    let documents = stored.iter().zip(0_i64..).map(|(value, id)| {
        let mut document = doc! { "_id": id };
        document.extend(value.clone().map(|value| ("value".to_owned(), value)));
        document
    });
    holders.insert_many(documents).await.expect("inserts");
    let source = MongoSource::<Holder<V>>::new(&holders);
    let all = source.list().await.expect("all can be read");
    for wanted in values {
        let filter = value::<V>().eq(wanted.clone()).into_filter().expect("it can be compared");
        let found = ids::<V>(&source.find(&filter).await.expect("a find"));
        let affected: Vec<Image> =
            all.iter().filter(|image| filter.matches(image).expect("a holder")).cloned().collect();
        let affected = ids::<V>(&affected);
        let equal = mongodb::bson::to_bson(&wanted).expect("a value");
        let simple = Collation::builder().locale("simple").build();
        let equal = holders.find(doc! { "value": { "$eq": equal } }).collation(simple).await.expect("a find");
        let equal: Vec<Document> = futures_util::TryStreamExt::try_collect(equal).await.expect("documents");
        let equal: BTreeSet<i64> = equal.iter().map(|document| document.get_i64("_id").expect("an id")).collect();
        assert_eq!(found, &equal & &affected, "{wanted:?} among {stored:?}");
        // Else the predicate would miss a change.
        assert!(found.is_subset(&affected), "{wanted:?} among {stored:?}: {found:?} {affected:?}");
        if !matches!(stored.iter().flatten().next(), Some(Bson::Array(_))) {
            assert_eq!(found, equal, "{wanted:?} among {stored:?}");
        }
    }
}

fn all<T: Into<Bson>>(values: impl IntoIterator<Item = T>) -> Vec<Option<Bson>> {
    values.into_iter().map(|value| Some(value.into())).collect()
}

/// Random bytes, without another crate.
fn random() -> u64 {
    let token = smache_core::Token::random().to_string();
    token.bytes().fold(0, |number: u64, byte| number.wrapping_mul(31).wrapping_add(byte.into()))
}

#[tokio::test]
async fn numbers_are_found_whatever_their_width() {
    let world = World::shared().await;
    let mut numbers: Vec<i64> = vec![0, 1, -1, 7, i64::MAX, i64::MIN, i32::MAX.into(), (1 << 53) + 1];
    numbers.extend((0..20).map(|_| i64::from_le_bytes(random().to_le_bytes()) >> (random() % 60)));
    let mut stored = all(numbers.clone());
    stored.extend(all(numbers.iter().filter_map(|number| i32::try_from(*number).ok())));
    check::<i64>(&world, stored.clone(), numbers.clone()).await;
    let small: Vec<i32> = numbers.iter().filter_map(|number| i32::try_from(*number).ok()).collect();
    let narrow = small.iter().flat_map(|number| [Bson::Int32(*number), Bson::Int64((*number).into())]);
    check::<i32>(&world, all(narrow), small.clone()).await;
    let floats = [0.0, -0.0, 1.0, 0.1, -7.5, f64::MAX, f64::MIN_POSITIVE, f64::INFINITY, 7.0];
    let mut stored = all(floats);
    stored.extend(all(small.clone()));
    check::<f64>(&world, stored, floats.iter().copied().chain(small.into_iter().map(f64::from)).collect()).await;
}

#[tokio::test]
async fn other_plain_values_are_found_exactly() {
    let world = World::shared().await;
    check::<bool>(&world, all([true, false, true]), vec![true, false]).await;
    let texts = ["", "a", "A", "ä", "a\u{308}", "ß", "ss", "straße", "a ", "$x", "x.y", "\u{1f600}"];
    check::<String>(&world, all(texts), texts.map(str::to_owned).to_vec()).await;
    let oids = [ObjectId::from_bytes([1; 12]), ObjectId::from_bytes([2; 12])];
    check::<ObjectId>(&world, all(oids), oids.to_vec()).await;
    let times = [0, 1, -1, 1_700_000_000_000, i64::MAX, i64::MIN].map(DateTime::from_millis);
    check::<DateTime>(&world, all(times), times.to_vec()).await;
    let binary = |subtype, bytes: &[u8]| Binary { subtype, bytes: bytes.to_vec() };
    let bytes = vec![
        binary(BinarySubtype::Generic, b""),
        binary(BinarySubtype::Generic, b"ab"),
        binary(BinarySubtype::Md5, b"ab"),
        binary(BinarySubtype::UserDefined(0x80), b"ab"),
    ];
    check::<Binary>(&world, all(bytes.clone()), bytes).await;
}

#[tokio::test]
async fn null_and_a_missing_field_are_one() {
    let world = World::shared().await;
    let mut stored = all([Bson::Int32(7), Bson::Null, Bson::Int64(8)]);
    stored.push(None);
    check::<Option<i64>>(&world, stored, vec![None, Some(7), Some(9)]).await;
}

/// The server looks into arrays: `[7]` is found by 7, and `[null]` by null.
#[tokio::test]
async fn arrays_are_found_as_a_whole() {
    let world = World::shared().await;
    let lists: Vec<Vec<i64>> = vec![vec![], vec![7], vec![7, 8], vec![8, 7], vec![7, 7]];
    check::<Vec<i64>>(&world, all(lists.clone()), lists).await;
    let stored = vec![
        Some(Bson::Array(vec![Bson::Null])),
        Some(Bson::Null),
        Some(Bson::Array(vec![])),
        Some(Bson::Array(vec![Bson::Int64(7), Bson::Null])),
        None,
    ];
    check::<Option<Vec<Option<i64>>>>(
        &world,
        stored,
        vec![None, Some(vec![None]), Some(vec![]), Some(vec![Some(7), None])],
    )
    .await;
}

#[tokio::test]
async fn texts_are_compared_byte_by_byte_whatever_the_collation() {
    let world = World::shared().await;
    let loose = Collation::builder().locale("en").strength(mongodb::options::CollationStrength::Secondary).build();
    world.db.create_collection("holders").collation(loose).await.expect("a collection");
    let texts = ["anna", "Anna", "ANNA", "bea"];
    check::<String>(&world, all(texts), texts.map(str::to_owned).to_vec()).await;
}

#[tokio::test]
async fn types_that_are_not_equal_in_one_way_are_refused() {
    let world = World::shared().await;
    let decimal = Decimal128::from_str("0.10").expect("a number");
    let error = value::<Decimal128>().eq(decimal).into_filter().expect_err("0.1 is another value");
    assert_eq!(error.kind(), ErrorKind::Argument, "{}", error.report());
    assert!(error.to_string().contains("smallest unit"), "{error}");
    let source = MongoSource::<Holder<Document>>::new(&world.documents("holders"));
    let filter = value::<Document>().eq(doc! { "a": 1 }).into_filter().expect("a filter");
    let error = source.find(&filter).await.expect_err("the order of its fields");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", error.report());
    assert!(error.to_string().contains("`value`"), "{error}");
}

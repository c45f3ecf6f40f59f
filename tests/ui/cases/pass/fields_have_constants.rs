//! Marked fields have constants under their stored names, and the entity says what it is found by.

#![deny(warnings, missing_docs, unreachable_pub, unused_qualifications)]

use serde::{Deserialize, Serialize};
use smache::{Entity, EntityType};

/// The items that other crates see.
pub mod school {
    use serde::{Deserialize, Serialize};
    use smache::Entity;

    /// A grade.
    #[derive(Clone, Debug, Serialize, Deserialize, Entity)]
    #[entity(source = "grades", index(course_id, participant), index(type, course_id))]
    #[serde(rename_all = "camelCase")]
    pub struct Grade {
        /// Its id.
        #[entity(id)]
        #[serde(rename = "_id")]
        pub id: u64,
        /// The course that it is of.
        #[entity(index)]
        pub course_id: u64,
        /// The owner.
        pub participant: String,
        /// Its purpose.
        pub(crate) r#type: Option<u8>,
        #[entity(field)]
        #[deprecated]
        #[serde(rename(serialize = "pts", deserialize = "pts"), default)]
        points: Vec<u32>,
        #[serde(skip)]
        unmarked: (),
    }

    /// Makes one.
    #[expect(deprecated, reason = "shows that the constant is not in the way")]
    #[must_use]
    pub fn grade() -> Grade {
        let grade =
            Grade { id: 1, course_id: 2, participant: "Ann".to_owned(), r#type: None, points: vec![3], unmarked: () };
        assert_eq!((Grade::POINTS.name(), &Grade::POINTS.get(&grade)[..]), ("pts", &[3][..]));
        let () = grade.unmarked;
        grade
    }
}

#[derive(Entity, Serialize, Deserialize)]
#[entity(source = "generic", index(key, other))]
#[serde(bound(deserialize = "K: serde::de::DeserializeOwned"))]
struct Generic<K, const N: usize = 2>
where
    K: Serialize + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    #[entity(id, field)]
    id: u64,
    #[entity(field)]
    key: K,
    other: [u8; 2],
}

#[derive(Entity)]
#[entity(source = "plain")]
struct Plain {
    #[entity(id)]
    id: u64,
}

fn main() {
    use school::Grade;
    let grade = school::grade();
    assert_eq!((Grade::COURSE_ID.name(), Grade::COURSE_ID.get(&grade)), ("courseId", &2));
    assert_eq!((Grade::PARTICIPANT.name(), Grade::PARTICIPANT.get(&grade).as_str()), ("participant", "Ann"));
    assert_eq!((Grade::TYPE.name(), Grade::TYPE.get(&grade)), ("type", &None));
    assert_eq!(
        format!("{:?}", Grade::indexes()),
        r#"[["courseId"], ["courseId", "participant"], ["type", "courseId"]]"#
    );
    assert_eq!(Grade::fields().names(), ["courseId", "participant", "pts", "type"]);
    let _ = Grade::COURSE_ID.eq(1_u64) & Grade::PARTICIPANT.eq("Ann");

    let generic = Generic::<String> { id: 1, key: "x".to_owned(), other: [1; 2] };
    assert_eq!(Generic::<String>::KEY.get(&generic), "x");
    assert_eq!(Generic::<String>::fields().names(), ["id", "key", "other"]);
    assert_eq!((generic.id, generic.other), (1, [1; 2]));

    assert!(Plain::indexes().is_empty() && Plain::fields().is_empty());
    assert_eq!(Plain { id: 1 }.id, 1);
}

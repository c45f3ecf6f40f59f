//! Named fields, tuple structs, generic types, ids of any type.

use serde::{Deserialize, Serialize};
use smache::{Entity, EntityType};

#[derive(Entity)]
#[entity(source = "users")]
struct Named {
    name: String,
    #[entity(id)]
    r#type: u64,
}

#[derive(Entity)]
#[entity(source = "tuples")]
struct Tuple(String, #[entity(id)] [u8; 12]);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Key {
    tenant: u32,
    number: u64,
}

#[derive(Clone, Entity, Serialize)]
#[entity(source = "generic")]
struct Generic<T: Default, const N: usize = 3>
where
    T: Send + Sync + 'static,
{
    /// Docs and the attributes of other derives do not matter.
    #[serde(rename = "_id")]
    #[entity(id)]
    id: Key,
    #[serde(skip)]
    payload: [T; N],
}

#[derive(Entity)]
#[entity(source = "by-parameter")]
struct ByParameter<K>(#[entity(id)] K)
where
    K: Serialize + serde::de::DeserializeOwned + Clone + std::fmt::Debug + Send + Sync + 'static;

fn main() {
    let named = Named { name: "John".to_owned(), r#type: 7 };
    assert_eq!((named.id(), Named::SOURCE, named.name.len()), (&7, "users", 4));
    let tuple = Tuple("x".to_owned(), [1; 12]);
    assert_eq!((tuple.id(), Tuple::SOURCE, tuple.0.len()), (&[1; 12], "tuples", 1));
    let generic = Generic { id: Key { tenant: 1, number: 2 }, payload: [0_u8; 3] };
    assert_eq!((generic.id().number, generic.id().tenant, generic.payload.len()), (2, 1, 3));
    assert_eq!(ByParameter("x".to_owned()).id(), "x");
}

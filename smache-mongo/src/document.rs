//! Documents as entities.

use std::fmt;

use mongodb::{
    Database,
    bson::{self, Bson, RawDocument},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use smache_core::{BoxError, Condition, EntityKey, EntityKind, EntityType, Error, ErrorKind, Image, Result, guarded};

/// The field that identifies a document; the server allows no other.
const ID: &str = "_id";

/// An id as the driver writes it into a document: in serde's compact form, which differs from the readable one for
/// types such as `Uuid`.
#[derive(Serialize)]
struct Identified<'a, I> {
    #[serde(rename = "_id")]
    id: &'a I,
}

#[derive(Deserialize)]
#[serde(bound = "I: DeserializeOwned")]
struct Identity<I> {
    #[serde(rename = "_id")]
    id: I,
}

/// The `_id` of an entity's document.
pub(crate) fn id_of<T: EntityType>(key: &EntityKey) -> Result<Bson> {
    let id: T::Id = key.decode()?;
    written(&id).map_err(|error| {
        let message = format!("the id {key} of the source `{}` cannot be an `_id` of MongoDB", T::SOURCE);
        Error::new(ErrorKind::Argument, message).with_source(error)
    })
}

/// A value as the driver writes it into a document.
fn written<I: Serialize>(id: &I) -> Result<Bson, BoxError> {
    let document = bson::to_raw_document_buf(&Identified { id })?;
    match document.get(ID)? {
        Some(value) => Ok(Bson::try_from(value.to_raw_bson())?),
        None => Err("it is written as nothing".into()),
    }
}

/// The value of a condition as the driver writes it into a document.
///
/// # Errors
/// `Unsupported` for a value that the server compares in another way than SMache compares the image of a change.
pub(crate) fn value_of(condition: &Condition, source: &str) -> Result<Bson> {
    let field = condition.field();
    let value = written(&condition.value()).map_err(|error| {
        let message = format!("the value for `{field}` of the source `{source}` cannot be a value of MongoDB");
        Error::new(ErrorKind::Argument, message).with_source(error)
    })?;
    match incomparable(&value) {
        Some(why) => {
            let message = format!("the field `{field}` of the source `{source}` cannot be in a predicate: {why}");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
        None => Ok(value),
    }
}

/// Why the server's equality differs from that of the values in a program.
fn incomparable(value: &Bson) -> Option<&'static str> {
    match value {
        Bson::Document(_) => Some(
            "a document equals another one only with the same fields in the same order, whatever a program reads of them: \
             give a field of it a place of its own",
        ),
        Bson::Decimal128(_) => Some(
            "0.1 and 0.10 are one number to the server and two values to a program: keep a whole number of the smallest unit, or \
             a text",
        ),
        Bson::Array(values) => values.iter().find_map(incomparable),
        _ => None,
    }
}

/// The key of the entity of a document, or of a document's key.
pub(crate) fn key_of<T: EntityType>(document: &RawDocument) -> Result<EntityKey> {
    let decoding = format!("the `Deserialize` of the id of `{}`", kind::<T>());
    match guarded(&decoding, || Ok(bson::from_slice::<Identity<T::Id>>(document.as_bytes())))? {
        Ok(identity) => EntityKey::encode(&identity.id),
        Err(error) => {
            let message =
                format!("the `_id` of a document of the source `{}` is not an id of a `{}`", T::SOURCE, kind::<T>());
            Err(Error::new(ErrorKind::Corrupt, message).with_context("id", shown_id(document)).with_source(error))
        }
    }
}

/// The entity in a document.
pub(crate) fn image_of<T: EntityType + DeserializeOwned>(document: &RawDocument) -> Result<(EntityKey, Image)> {
    let key = key_of::<T>(document)?;
    let decoding = format!("the `Deserialize` of `{}`", kind::<T>());
    let entity: T = guarded(&decoding, || Ok(bson::from_slice(document.as_bytes())))?.map_err(|error| {
        let message = format!("a document of the source `{}` cannot be read as a `{}`", T::SOURCE, kind::<T>());
        Error::new(ErrorKind::Corrupt, message).with_context("id", shown_id(document)).with_source(error)
    })?;
    // Changes name entities by `_id`: no change would reach an entity under another id.
    if guarded(&format!("the id of a `{}`", kind::<T>()), || EntityKey::encode(entity.id()))? == key {
        Ok((key, Image::read_from(entity, document.as_bytes())))
    } else {
        let message = format!(
            "the id of a `{}` is not the `_id` of its document: mark the field that is stored as `_id`",
            kind::<T>()
        );
        Err(Error::new(ErrorKind::Corrupt, message).with_context("id", shown_id(document)))
    }
}

fn kind<T: EntityType>() -> &'static str {
    EntityKind::of::<T>().name()
}

/// A key for an `_id` that is not an id of the entity's type. No load ever used it, but results that depend on the
/// whole source must go stale. `None` when the `_id` cannot be encoded either (a NaN, for example).
pub(crate) fn foreign_key(document: &RawDocument) -> Option<EntityKey> {
    let id = Bson::try_from(document.get(ID).ok()??.to_raw_bson()).ok()?;
    EntityKey::encode(&id).ok()
}

/// The `_id` of a document for messages.
pub(crate) fn shown_id(document: &RawDocument) -> String {
    match document.get(ID) {
        Ok(Some(id)) => Bson::try_from(id.to_raw_bson()).map_or_else(|error| error.to_string(), |id| id.to_string()),
        _ => "none".to_owned(),
    }
}

/// How a feed reads the changes of one source, whose type only the source knows. The source puts it in its topic.
#[derive(Clone)]
pub(crate) struct TopicReader {
    /// Where the source loads from: the feed refuses sources of another server.
    pub(crate) database: Database,
    /// See [`key_of`].
    pub(crate) key: fn(&RawDocument) -> Result<EntityKey>,
    /// See [`image_of`].
    pub(crate) image: fn(&RawDocument) -> Result<(EntityKey, Image)>,
}

impl TopicReader {
    pub(crate) fn new<T: EntityType + DeserializeOwned>(database: Database) -> Self {
        Self { database, key: key_of::<T>, image: image_of::<T> }
    }
}

impl fmt::Debug for TopicReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicReader").field("database", &self.database.name()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

//! The data of the table and the lines of its history, as entities.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};
use smache_core::{
    Change, ChangeKind, EntityKey, EntityType, Error, ErrorKind, Image, Result, Snapshot, SourceId, guarded,
    support::log_damaged_change,
};

/// A line of the history: an id, and the stored entity before and after.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) id: Vec<u8>,
    pub(super) before: Option<Vec<u8>>,
    pub(super) after: Option<Vec<u8>>,
}

/// Reads the lines of a table; only its source knows the type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader {
    key: fn(&[u8]) -> Result<EntityKey>,
    image: fn(&EntityKey, &[u8]) -> Result<Image>,
}

impl Reader {
    pub(super) fn of<T: EntityType + DeserializeOwned>() -> Self {
        Self { key: key::<T>, image: image::<T> }
    }

    /// The change in a line. A line in another form than this crate's means that something has changed.
    pub(super) fn change(&self, source: &SourceId, line: &Line) -> Change {
        if line.before.is_none() && line.after.is_none() {
            tracing::warn!(%source, "a line in the history is not one of the table: all of it counts as changed");
            return Change::reset(source.clone());
        }
        let key = match (self.key)(&line.id) {
            Ok(key) => key,
            Err(error) => {
                tracing::warn!(%source, error = %error.report(), "a changed id is not one of the table's type: all of it counts as changed");
                return Change::reset(source.clone());
            }
        };
        let kind = match (&line.before, &line.after) {
            (None, _) => ChangeKind::Insert,
            (Some(_), Some(_)) => ChangeKind::Update,
            (Some(_), None) => ChangeKind::Delete,
        };
        let snapshot = |stored: &Option<Vec<u8>>| match stored.as_deref().map(|stored| (self.image)(&key, stored)) {
            None => Snapshot::Absent,
            Some(Ok(image)) => Snapshot::Known(image),
            Some(Err(error)) => {
                log_damaged_change(source, &key, error.report());
                Snapshot::Unknown
            }
        };
        let mut change = Change::new(source.clone(), key.clone(), kind);
        change.before = snapshot(&line.before);
        change.after = snapshot(&line.after);
        change.fields =
            line.before.as_deref().zip(line.after.as_deref()).and_then(|(before, after)| fields(before, after));
        change
    }
}

/// The fields that differ, from the JSON itself: a program of another version may know other fields.
fn fields(before: &[u8], after: &[u8]) -> Option<Vec<String>> {
    let read = |stored| serde_json::from_slice::<Map<String, Json>>(stored).ok();
    let before = read(before)?;
    let after = read(after)?;
    let mut changed: Vec<String> =
        before.keys().chain(after.keys()).filter(|field| before.get(*field) != after.get(*field)).cloned().collect();
    changed.sort_unstable();
    changed.dedup();
    Some(changed)
}

/// The key of a field.
pub(super) fn key<T: EntityType>(id: &[u8]) -> Result<EntityKey> {
    let decoding = format!("the `Deserialize` of an id of `{}`", T::SOURCE);
    let id: T::Id = guarded(&decoding, || Ok(serde_json::from_slice(id)))?.map_err(|error| {
        let message = format!("an id in the table of `{}` is not one of its type", T::SOURCE);
        Error::new(ErrorKind::Corrupt, message).with_source(error)
    })?;
    EntityKey::encode(&id)
}

/// A stored entity, under any key.
pub(super) fn parse<T: EntityType + DeserializeOwned>(stored: &[u8]) -> Result<T> {
    let decoding = format!("the `Deserialize` of an entity of `{}`", T::SOURCE);
    guarded(&decoding, || Ok(serde_json::from_slice(stored)))?.map_err(|error| {
        let message = format!("an entity in the table of `{}` cannot be read as one", T::SOURCE);
        Error::new(ErrorKind::Corrupt, message).with_source(error)
    })
}

/// The entity of an id. Changes name entities by their fields: no change would reach an entity under another id.
pub(super) fn entity<T: EntityType + DeserializeOwned>(key: &EntityKey, stored: &[u8]) -> Result<T> {
    let entity: T = parse(stored)?;
    let own = guarded(&format!("the id of an entity of `{}`", T::SOURCE), || EntityKey::encode(entity.id()))?;
    // A number of another width is the same id.
    if own == *key || own == EntityKey::encode(&key.decode::<T::Id>()?)? {
        return Ok(entity);
    }
    let message = format!(
        "an entity in the table of `{}` has the id {own} and is stored under {key}: store it under its own id, or correct the id",
        T::SOURCE
    );
    Err(Error::new(ErrorKind::Corrupt, message))
}

/// The same as an image.
pub(super) fn image<T: EntityType + DeserializeOwned>(key: &EntityKey, stored: &[u8]) -> Result<Image> {
    entity::<T>(key, stored).map(|entity| Image::read_from(entity, stored))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_differ_come_and_go_are_told() {
        let fields = |before: &str, after: &str| fields(before.as_bytes(), after.as_bytes());
        assert_eq!(
            fields(r#"{"a":1,"b":[1],"c":1}"#, r#"{"c":2,"b":[1],"d":null}"#),
            Some(vec!["a".into(), "c".into(), "d".into()])
        );
        assert_eq!(fields(r#"{"a":1}"#, r#"{"a":1}"#), Some(vec![]));
        assert_eq!(fields("1", r#"{"a":1}"#), None, "not an object");
    }
}

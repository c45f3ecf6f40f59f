//! Rows as entities. A row travels as JSON, in loads as in changes.

use std::{borrow::Cow, collections::BTreeMap};

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use smache_core::{Condition, EntityKey, EntityKind, EntityType, Error, ErrorKind, Image, Result, guarded};

/// The columns of a row, their values not yet read.
type Columns<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

fn columns<'a>(row: &'a str, source: &str) -> Result<Columns<'a>> {
    serde_json::from_str(row).map_err(|error| {
        Error::new(ErrorKind::Corrupt, format!("a row of the source `{source}` is not written as JSON"))
            .with_source(error)
    })
}

fn kind<T: EntityType>() -> &'static str {
    EntityKind::of::<T>().name()
}

/// The value of the id column, for messages.
pub(crate) fn shown_id(row: &str, column: &str) -> String {
    let id = columns(row, "").ok().and_then(|columns| columns.get(column).map(|id| id.get().to_owned()));
    id.unwrap_or_else(|| "none".to_owned())
}

/// The key of the entity that a row is of.
pub(crate) fn key_of<T: EntityType>(row: &str, column: &str) -> Result<EntityKey> {
    let columns = columns(row, T::SOURCE)?;
    let Some(id) = columns.get(column) else {
        let message = format!("a row of the source `{}` has no column `{column}`: run `install` again", T::SOURCE);
        return Err(Error::new(ErrorKind::Corrupt, message));
    };
    let decoded = guarded(&format!("the `Deserialize` of the id of `{}`", kind::<T>()), || {
        Ok(serde_json::from_str::<T::Id>(id.get()))
    })?;
    match decoded {
        Ok(id) => EntityKey::encode(&id),
        Err(error) => {
            let message =
                format!("the column `{column}` of the source `{}` is not the id of a `{}`", T::SOURCE, kind::<T>());
            Err(Error::new(ErrorKind::Corrupt, message).with_context("id", id.get()).with_source(error))
        }
    }
}

/// The entity that a row is.
pub(crate) fn image_of<T: EntityType + DeserializeOwned>(row: &str, column: &str) -> Result<(EntityKey, Image)> {
    let key = key_of::<T>(row, column)?;
    let decoding = format!("the `Deserialize` of `{}`", kind::<T>());
    let entity: T = guarded(&decoding, || Ok(serde_json::from_str(row)))?.map_err(|error| {
        let message = format!("a row of the source `{}` cannot be read as a `{}`", T::SOURCE, kind::<T>());
        Error::new(ErrorKind::Corrupt, message).with_context("id", shown_id(row, column)).with_source(error)
    })?;
    // Changes name entities by the column: an entity that goes by anything else would never be found stale.
    if guarded(&format!("the id of a `{}`", kind::<T>()), || EntityKey::encode(entity.id()))? == key {
        Ok((key, Image::new(entity)))
    } else {
        let message = format!(
            "the id of a `{}` is not the column `{column}` of its row: mark the field that is stored there",
            kind::<T>()
        );
        Err(Error::new(ErrorKind::Corrupt, message).with_context("id", shown_id(row, column)))
    }
}

/// A key for an id that is not one of the entity's type. Nothing was ever loaded by it, but whoever depends on the whole
/// source must hear of the change. `None` when not even that can be encoded.
pub(crate) fn foreign_key(row: &str, column: &str) -> Option<EntityKey> {
    let id: serde_json::Value = serde_json::from_str(columns(row, "").ok()?.get(column)?.get()).ok()?;
    EntityKey::encode(&id).ok()
}

/// The columns in which two rows differ, compared as they are written. `None` when one of them cannot be read.
pub(crate) fn differing(before: &str, after: &str) -> Option<Vec<String>> {
    let (before, after) = (columns(before, "").ok()?, columns(after, "").ok()?);
    let value = |row: &Columns<'_>, column: &str| row.get(column).map(|value| value.get().to_owned());
    let mut fields: Vec<String> = before.keys().chain(after.keys()).map(|column| column.clone().into_owned()).collect();
    fields.sort_unstable();
    fields.dedup();
    fields.retain(|column| value(&before, column) != value(&after, column));
    Some(fields)
}

/// The id of a key as a scalar of JSON, which every database can bind.
pub(crate) fn scalar_of<T: EntityType>(key: &EntityKey) -> Result<serde_json::Value> {
    use serde_json::Value;
    let refused = || {
        let message = format!(
            "the id {key} of the source `{}` cannot be a column: use a type that serde writes as a number, text or bool",
            T::SOURCE
        );
        Error::new(ErrorKind::Argument, message)
    };
    let id: T::Id = key.decode()?;
    match serde_json::to_value(&id) {
        Ok(value @ (Value::String(_) | Value::Number(_) | Value::Bool(_))) => Ok(value),
        Ok(_) => Err(refused()),
        Err(error) => Err(refused().with_source(error)),
    }
}

/// The value of a condition as JSON.
pub(crate) fn value_of(condition: &Condition, source: &str) -> Result<serde_json::Value> {
    serde_json::to_value(condition.value()).map_err(|error| {
        let message =
            format!("the value for `{}` of the source `{source}` cannot be written as JSON", condition.field());
        Error::new(ErrorKind::Argument, message).with_source(error)
    })
}

/// A condition on something that is not a column.
pub(crate) fn no_such_column(field: &str, table: &str, source: &str) -> Error {
    let fix = "the name of the field must be the name of the column";
    Error::new(
        ErrorKind::Config,
        format!("the source `{source}` has no column `{field}` in its table `{table}`: {fix}"),
    )
}

#[cfg(test)]
mod tests;

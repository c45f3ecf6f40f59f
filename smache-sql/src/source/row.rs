//! Rows as entities. A row travels as JSON, in loads as in changes.

use serde::{Deserialize, de::DeserializeOwned};
use smache_core::{Condition, EntityKey, EntityKind, EntityType, Error, ErrorKind, Image, Result, guarded};

use super::cell::{Cell, Cells, Columns, NumberColumns};

/// The facts about the columns of a table that reading its rows needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The columns that name its rows, in the order of the key.
    pub(crate) ids: Vec<String>,
    pub(crate) numbers: NumberColumns,
}

impl Shape {
    /// The id columns, for messages.
    pub(crate) fn id_names(&self) -> String {
        self.ids.join("`, `")
    }

    /// The id of a row as JSON: a value, or a list of those of several columns.
    fn id_json(&self, row: &str) -> Option<String> {
        let columns = columns(row, "").ok()?;
        let values = self.ids.iter().map(|id| columns.get(id.as_str()).map(|value| value.get()));
        let values = values.collect::<Option<Vec<_>>>()?;
        Some(if let [value] = values[..] { value.to_owned() } else { format!("[{}]", values.join(",")) })
    }

    /// The id of a row, for messages.
    pub(crate) fn shown_id(&self, row: &str) -> String {
        self.id_json(row).unwrap_or_else(|| "none".to_owned())
    }

    /// A key for an id that is not of the entity's type. No load ever used it, but a dependant on the whole source must
    /// see the change. `None` where the id cannot even be encoded.
    pub(crate) fn foreign_key(&self, row: &str) -> Option<EntityKey> {
        let id: serde_json::Value = serde_json::from_str(&self.id_json(row)?).ok()?;
        EntityKey::encode(&id).ok()
    }
}

fn columns<'a>(row: &'a str, source: &str) -> Result<Columns<'a>> {
    serde_json::from_str(row).map_err(|error| {
        Error::new(ErrorKind::Corrupt, format!("a row of the source `{source}` is not written as JSON"))
            .with_source(error)
    })
}

fn kind<T: EntityType>() -> &'static str {
    EntityKind::of::<T>().name()
}

/// The key of the entity that a row is of.
pub(crate) fn key_of<T: EntityType>(row: &str, shape: &Shape) -> Result<EntityKey> {
    key_in::<T>(&columns(row, T::SOURCE)?, row, shape)
}

fn key_in<T: EntityType>(columns: &Columns<'_>, row: &str, shape: &Shape) -> Result<EntityKey> {
    let mut ids = Vec::with_capacity(shape.ids.len());
    for column in &shape.ids {
        let Some(id) = columns.get(column.as_str()) else {
            let message = format!("a row of the source `{}` has no column `{column}`: run `install` again", T::SOURCE);
            return Err(Error::new(ErrorKind::Corrupt, message));
        };
        ids.push((column.as_str(), Cell::of(column, id, &shape.numbers)));
    }
    let decoded = guarded(&format!("the `Deserialize` of the id of `{}`", kind::<T>()), || {
        Ok(if let [(_, id)] = ids[..] { T::Id::deserialize(id) } else { T::Id::deserialize(Cells(ids)) })
    })?;
    match decoded {
        Ok(id) => EntityKey::encode(&id),
        Err(error) => {
            let columns = shape.id_names();
            let source = T::SOURCE;
            let message = match shape.ids.len() {
                1 => format!("the column `{columns}` of the source `{source}` is not the id of a `{}`", kind::<T>()),
                _ => format!(
                    "the columns `{columns}` of the source `{source}` are not the id of a `{}`: let it be a tuple in the order of \
                     the columns, or a struct of fields with their names",
                    kind::<T>()
                ),
            };
            Err(Error::new(ErrorKind::Corrupt, message).with_context("id", shape.shown_id(row)).with_source(error))
        }
    }
}

/// The entity that a row is.
pub(crate) fn image_of<T: EntityType + DeserializeOwned>(row: &str, shape: &Shape) -> Result<(EntityKey, Image)> {
    let columns = columns(row, T::SOURCE)?;
    let key = key_in::<T>(&columns, row, shape)?;
    let decoding = format!("the `Deserialize` of `{}`", kind::<T>());
    let cells = columns.iter().map(|(column, value)| (&**column, Cell::of(column, value, &shape.numbers)));
    let decoded = guarded(&decoding, || Ok(T::deserialize(Cells(cells.collect()))))?;
    // A type that buffers its fields before it knows their types gets the digits of a decimal for a number.
    let decoded = match decoded {
        Err(error) => guarded(&decoding, || Ok(serde_json::from_str(row).map_err(|_| error)))?,
        entity => entity,
    };
    let entity: T = decoded.map_err(|error| {
        let message = format!("a row of the source `{}` cannot be read as a `{}`", T::SOURCE, kind::<T>());
        Error::new(ErrorKind::Corrupt, message).with_context("id", shape.shown_id(row)).with_source(error)
    })?;
    // Changes name entities by the column: an entity that goes by anything else would never be found stale.
    if guarded(&format!("the id of a `{}`", kind::<T>()), || EntityKey::encode(entity.id()))? == key {
        Ok((key, Image::read_from(entity, row.as_bytes())))
    } else {
        let message = format!(
            "the id of a `{}` is not the column `{}` of its row: mark the field that is stored there",
            kind::<T>(),
            shape.id_names()
        );
        Err(Error::new(ErrorKind::Corrupt, message).with_context("id", shape.shown_id(row)))
    }
}

/// The columns in which two rows differ, compared as they are written. `None` when one of them cannot be read.
pub(crate) fn differing(before: &str, after: &str) -> Option<Vec<String>> {
    let before = columns(before, "").ok()?;
    let after = columns(after, "").ok()?;
    let value = |row: &Columns<'_>, column: &str| row.get(column).map(|value| value.get().to_owned());
    let mut fields: Vec<String> = before.keys().chain(after.keys()).map(|column| column.clone().into_owned()).collect();
    fields.sort_unstable();
    fields.dedup();
    fields.retain(|column| value(&before, column) != value(&after, column));
    Some(fields)
}

/// The id of a key as scalars of JSON, which every database can bind: one for each column of the id.
pub(crate) fn scalars_of<T: EntityType>(key: &EntityKey, ids: &[String]) -> Result<Vec<serde_json::Value>> {
    use serde_json::Value;
    let refused = || {
        let message = if let [_] = ids {
            format!(
                "the id {key} of the source `{}` cannot be a column: use a type that serde writes as a number, text or bool",
                T::SOURCE
            )
        } else {
            format!(
                "the id {key} of the source `{}` cannot be the columns `{}`: use a tuple in their order, or a struct of fields with \
                 their names, of types that serde writes as a number, text or bool",
                T::SOURCE,
                ids.join("`, `")
            )
        };
        Error::new(ErrorKind::Argument, message)
    };
    let id: T::Id = key.decode()?;
    let values = match serde_json::to_value(&id) {
        Ok(value) if ids.len() == 1 => vec![value],
        Ok(Value::Array(values)) if values.len() == ids.len() => values,
        Ok(Value::Object(mut fields)) if fields.len() == ids.len() => {
            ids.iter().map(|id| fields.remove(id)).collect::<Option<_>>().ok_or_else(refused)?
        }
        Ok(_) => return Err(refused()),
        Err(error) => return Err(refused().with_source(error)),
    };
    let scalar = |value: &Value| matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_));
    if values.iter().all(scalar) { Ok(values) } else { Err(refused()) }
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

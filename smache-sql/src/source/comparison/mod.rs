//! The forms in which the values of columns are compared: one for all that the database takes for equal.
//!
//! A value is written in several ways: 0.1 and 0.10, a time with this offset or that, a text with or without padding.
//! The rows come as the server writes them, and predicates as the application does.

#[cfg(feature = "sqlite")]
mod lite;
mod number;
#[cfg(feature = "postgres")]
mod pg;
#[cfg(feature = "postgres")]
mod time;

use smache_core::{Error, ErrorKind, FieldValue};

#[cfg(feature = "sqlite")]
pub(crate) use self::lite::{Affinity, Collation, LiteForm};
#[cfg(feature = "postgres")]
pub(crate) use self::pg::PgForm;

/// The form of a missing value.
const NULL: &[u8] = &[0];

/// A form, which no missing value has.
fn present(form: impl AsRef<[u8]>) -> Vec<u8> {
    [&[1], form.as_ref()].concat()
}

fn refused(what: &str) -> Error {
    Error::new(ErrorKind::Argument, format!("the value cannot be compared with the column: {what}"))
}

/// The form of JSON: its content, whatever its order and the scale of its numbers.
fn json(value: &FieldValue) -> Vec<u8> {
    let mut form = Vec::new();
    write_json(&mut form, value);
    form
}

fn write_json(form: &mut Vec<u8>, value: &FieldValue) {
    match value {
        FieldValue::Bool(value) => counted(form, b'b', &[u8::from(*value)]),
        FieldValue::Integer(_) | FieldValue::Float32(_) | FieldValue::Float64(_) => {
            counted(form, b'#', &number::decimal(value).unwrap_or_default());
        }
        FieldValue::Text(text) => counted(form, b's', text.as_bytes()),
        FieldValue::Bytes(bytes) => counted(form, b'x', bytes),
        FieldValue::List(items) => {
            let mut list = Vec::new();
            items.iter().for_each(|item| write_json(&mut list, item));
            counted(form, b'[', &list);
        }
        FieldValue::Map(pairs) => {
            let mut pairs: Vec<(Vec<u8>, &FieldValue)> = pairs.iter().map(|(key, value)| (json(key), value)).collect();
            pairs.sort_by(|one, other| one.0.cmp(&other.0));
            let mut map = Vec::new();
            for (key, value) in pairs {
                map.extend(key);
                write_json(&mut map, value);
            }
            counted(form, b'{', &map);
        }
        // Null, and whatever JSON has no word for.
        _ => counted(form, b'n', &[]),
    }
}

/// Adds something that shows where it ends.
fn counted(form: &mut Vec<u8>, tag: u8, content: &[u8]) {
    form.push(tag);
    form.extend((content.len() as u64).to_be_bytes());
    form.extend(content);
}

#[cfg(test)]
mod tests;

//! Columns of SQLite, which compare by their affinity and collation.

use smache_core::{Compare, FieldValue, Result};

use super::{NULL, json, number, present, refused};

/// The affinity of a column: how it stores values, by the type that it was declared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Affinity {
    Text,
    /// `INTEGER`, `REAL` and `NUMERIC`: a text that is a number counts as the number.
    Number,
    /// Keeps every value unchanged.
    Blob,
}

impl Affinity {
    /// The affinity of a column with that declaration, in capitals. The rules, and their order, are SQLite's.
    pub(crate) fn of(declared: &str) -> Self {
        let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
        if has(&["INT"]) {
            Self::Number
        } else if has(&["CHAR", "CLOB", "TEXT"]) {
            Self::Text
        } else if has(&["BLOB"]) || declared.is_empty() {
            Self::Blob
        } else {
            Self::Number
        }
    }
}

/// Which texts are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Collation {
    Binary,
    NoCase,
    RTrim,
}

impl Collation {
    /// One of those that SQLite has itself, by name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            "BINARY" => Some(Self::Binary),
            "NOCASE" => Some(Self::NoCase),
            "RTRIM" => Some(Self::RTrim),
            _ => None,
        }
    }

    fn form(self, text: &str) -> String {
        match self {
            Self::Binary => text.to_owned(),
            Self::NoCase => text.to_ascii_lowercase(),
            Self::RTrim => text.trim_end_matches(' ').to_owned(),
        }
    }
}

/// How the values of a column of SQLite are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LiteForm {
    pub(crate) affinity: Affinity,
    pub(crate) collation: Collation,
    /// Whether texts stand for blobs: digits, in those of a UUID with dashes.
    pub(crate) blob: bool,
    pub(crate) json: bool,
}

impl Compare for LiteForm {
    fn form(&self, value: &FieldValue) -> Result<Vec<u8>> {
        if self.json {
            return Ok(present(json(value)));
        }
        let number = |form: String| Ok(present(format!("n{form}")));
        let text = |text: &str| Ok(present(format!("t{}", self.collation.form(text))));
        let as_text = self.affinity == Affinity::Text;
        match value {
            FieldValue::Null => Ok(NULL.to_vec()),
            // As which it is stored.
            FieldValue::Bool(value) => self.form(&FieldValue::Integer(i128::from(*value))),
            FieldValue::Integer(value) if as_text => text(&value.to_string()),
            FieldValue::Float32(_) | FieldValue::Float64(_) if as_text => {
                Err(refused("a column of text has numbers as texts: use a type that serde writes as a text"))
            }
            FieldValue::Integer(value) => number(integer(*value)),
            FieldValue::Float32(value) => number(real(f64::from(*value))),
            FieldValue::Float64(value) => number(real(*value)),
            FieldValue::Text(value) => match self.affinity {
                Affinity::Number => literal(value).map_or_else(|| text(value), number),
                Affinity::Blob if self.blob => blob(value).map_or_else(|| text(value), |blob| Ok(present(blob))),
                Affinity::Blob | Affinity::Text => text(value),
            },
            _ => {
                Err(refused("use a type that serde writes as a number, text or bool, or declare the column as `JSON`"))
            }
        }
    }
}

fn integer(value: i128) -> String {
    // An integer that does not fit is a float.
    i64::try_from(value).map_or_else(|_| real(value.to_string().parse().unwrap_or(f64::NAN)), |value| value.to_string())
}

/// An integer and a float are equal if they are exactly.
fn real(value: f64) -> String {
    // Above it there are no integers.
    if value.fract() == 0.0 && value.abs() < 9.3e18 {
        (value as i128).to_string()
    } else {
        let bits = number::float8(&FieldValue::Float64(value)).map_or(0, u64::from_be_bytes);
        format!("r{bits:x}")
    }
}

/// The number that a text is.
fn literal(text: &str) -> Option<String> {
    let text = text.trim_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    if !plain || !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse::<i64>().map(|number| number.to_string()).ok().or_else(|| text.parse::<f64>().ok().map(real))
}

fn blob(text: &str) -> Option<String> {
    let digits = text.replace('-', "").to_ascii_lowercase();
    (digits.len().is_multiple_of(2) && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .then(|| format!("b{digits}"))
}

//! The forms in which the values of columns are compared: one for all that the database takes for equal.
//!
//! A value is written in several ways: 0.1 and 0.10, a time with this offset or that, a text with or without padding. The
//! rows come as the server writes them, and predicates as the application does.

#[cfg(feature = "sqlite")]
mod lite;
mod number;
#[cfg(feature = "postgres")]
mod time;

use smache_core::{Error, ErrorKind, FieldValue, Result};

#[cfg(feature = "sqlite")]
pub(crate) use self::lite::{Affinity, Collation, LiteForm};

/// The form of what is no value.
const NULL: &[u8] = &[0];

/// A form, which no missing value has.
fn present(form: impl AsRef<[u8]>) -> Vec<u8> {
    [&[1], form.as_ref()].concat()
}

fn refused(what: &str) -> Error {
    Error::new(ErrorKind::Argument, format!("the value cannot be compared with the column: {what}"))
}

/// How the values of a column of PostgreSQL are compared.
#[cfg(feature = "postgres")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PgForm {
    /// Character by character.
    Text,
    /// The same without the spaces at the end, which `char(n)` has to its length.
    Padded,
    Bool,
    /// Integers and decimals, whatever their scale.
    Number,
    Float4,
    Float8,
    Uuid,
    Bytea,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    /// `inet` and `cidr`.
    Network,
    /// `json` and `jsonb`: objects whatever their order, and numbers whatever their scale.
    Json,
    /// An array, by the form of its elements.
    List(Box<PgForm>),
}

#[cfg(feature = "postgres")]
impl smache_core::Compare for PgForm {
    fn form(&self, value: &FieldValue) -> Result<Vec<u8>> {
        match value {
            FieldValue::Null if *self != Self::Json => Ok(NULL.to_vec()),
            value => self.of_value(value).map(present),
        }
    }
}

#[cfg(feature = "postgres")]
impl PgForm {
    /// The form for a type by its name in the catalog, where there is one.
    pub(crate) fn of_type(name: &str) -> Option<Self> {
        Some(match name {
            "text" | "varchar" | "enum" => Self::Text,
            "bpchar" => Self::Padded,
            "bool" => Self::Bool,
            "int2" | "int4" | "int8" | "oid" | "numeric" => Self::Number,
            "float4" => Self::Float4,
            "float8" => Self::Float8,
            "uuid" => Self::Uuid,
            "bytea" => Self::Bytea,
            "date" => Self::Date,
            "time" => Self::Time,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::TimestampTz,
            "inet" | "cidr" => Self::Network,
            "json" | "jsonb" => Self::Json,
            _ => return None,
        })
    }

    /// The form for an array by the type of its elements. Arrays are looked for as JSON, in which the elements of the others
    /// are written in several ways.
    pub(crate) fn of_array(element: &str) -> Option<Self> {
        let plain = matches!(element, "text" | "varchar" | "enum" | "bool" | "int2" | "int4" | "int8");
        Self::of_type(element).filter(|_| plain).map(|form| Self::List(Box::new(form)))
    }

    fn of_value(&self, value: &FieldValue) -> Result<Vec<u8>> {
        match self {
            Self::Text => Ok(text(value)?.as_bytes().to_vec()),
            Self::Padded => Ok(text(value)?.trim_end_matches(' ').as_bytes().to_vec()),
            Self::Bool => match value {
                FieldValue::Bool(value) => Ok(vec![u8::from(*value)]),
                _ => Err(refused("use `bool` for a `boolean`")),
            },
            Self::Number => number::decimal(value).ok_or_else(|| refused("write a number as `12.5` or `-1e3`")),
            Self::Float4 => {
                number::float4(value).ok_or_else(|| refused("write a number as `12.5` or `-1e3`")).map(to_vec)
            }
            Self::Float8 => {
                number::float8(value).ok_or_else(|| refused("write a number as `12.5` or `-1e3`")).map(to_vec)
            }
            Self::Uuid => {
                uuid(text(value)?).ok_or_else(|| refused("write a UUID as 32 hexadecimal digits with dashes"))
            }
            Self::Bytea => {
                bytea(text(value)?).ok_or_else(|| refused("write a `bytea` as `\\x` and hexadecimal digits"))
            }
            Self::Date => time::date(text(value)?).ok_or_else(|| refused("write a date as `2024-05-31`")).map(to_vec),
            Self::Time => {
                let fix = "write a time as `09:00:00.5`, with six digits after the point at the most";
                time::time(text(value)?).ok_or_else(|| refused(fix)).map(to_vec)
            }
            Self::Timestamp => {
                let fix = "write a `timestamp` as `2024-05-31T09:00:00.5`, without an offset and with six digits after the point \
                           at the most";
                time::timestamp(text(value)?).ok_or_else(|| refused(fix)).map(to_vec)
            }
            Self::TimestampTz => {
                let fix = "write a `timestamptz` as `2024-05-31T09:00:00.5+02:00` or with `Z`, with six digits after the point \
                           at the most";
                time::timestamp_tz(text(value)?).ok_or_else(|| refused(fix)).map(to_vec)
            }
            Self::Network => network(text(value)?).ok_or_else(|| refused("write an address as `10.0.0.0/8` or `::1`")),
            Self::Json => Ok(json(value)),
            Self::List(element) => {
                let FieldValue::List(items) = value else { return Err(refused("use a list for an array")) };
                let mut form = Vec::new();
                for item in items {
                    // An array in it is another dimension.
                    let item = match item {
                        FieldValue::List(_) => present(self.of_value(item)?),
                        _ => smache_core::Compare::form(&**element, item)?,
                    };
                    counted(&mut form, b'v', &item);
                }
                Ok(form)
            }
        }
    }
}

#[cfg(feature = "postgres")]
fn to_vec(form: impl AsRef<[u8]>) -> Vec<u8> {
    form.as_ref().to_vec()
}

#[cfg(feature = "postgres")]
fn text(value: &FieldValue) -> Result<&str> {
    match value {
        FieldValue::Text(text) => Ok(text),
        _ => Err(refused("use a type that serde writes as a text")),
    }
}

#[cfg(feature = "postgres")]
fn uuid(text: &str) -> Option<Vec<u8>> {
    let bare = text.strip_prefix('{').map_or(Some(text), |inner| inner.strip_suffix('}'))?;
    let digits = bare.replace('-', "").to_ascii_lowercase();
    (digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())).then(|| digits.into_bytes())
}

#[cfg(feature = "postgres")]
fn bytea(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.to_ascii_lowercase().into_bytes();
    (digits.len() % 2 == 0 && digits.iter().all(u8::is_ascii_hexdigit)).then_some(digits)
}

#[cfg(feature = "postgres")]
fn network(text: &str) -> Option<Vec<u8>> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: std::net::IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32_u8 } else { 128 };
    let bits: u8 = bits.map_or(Some(most), |bits| bits.parse().ok()).filter(|bits| *bits <= most)?;
    Some(format!("{address}/{bits}").into_bytes())
}

/// The form of JSON: what is in it, whatever its order and the scale of its numbers.
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

//! Columns of PostgreSQL, which compare by their type.

use smache_core::{Compare, FieldValue, Result};

use super::{NULL, counted, json, number, present, refused, time};

/// How the values of a column of PostgreSQL are compared.
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

impl Compare for PgForm {
    fn form(&self, value: &FieldValue) -> Result<Vec<u8>> {
        match value {
            FieldValue::Null if *self != Self::Json => Ok(NULL.to_vec()),
            value => self.of_value(value).map(present),
        }
    }
}

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

    /// The form for an array by the type of its elements. A search compares arrays as JSON, where elements of other
    /// types are written in several ways.
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
                        _ => element.form(item)?,
                    };
                    counted(&mut form, b'v', &item);
                }
                Ok(form)
            }
        }
    }
}

fn to_vec(form: impl AsRef<[u8]>) -> Vec<u8> {
    form.as_ref().to_vec()
}

fn text(value: &FieldValue) -> Result<&str> {
    match value {
        FieldValue::Text(text) => Ok(text),
        _ => Err(refused("use a type that serde writes as a text")),
    }
}

fn uuid(text: &str) -> Option<Vec<u8>> {
    let bare = text.strip_prefix('{').map_or(Some(text), |inner| inner.strip_suffix('}'))?;
    let digits = bare.replace('-', "").to_ascii_lowercase();
    (digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())).then(|| digits.into_bytes())
}

fn bytea(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.to_ascii_lowercase().into_bytes();
    (digits.len() % 2 == 0 && digits.iter().all(u8::is_ascii_hexdigit)).then_some(digits)
}

fn network(text: &str) -> Option<Vec<u8>> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: std::net::IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32_u8 } else { 128 };
    let bits: u8 = bits.map_or(Some(most), |bits| bits.parse().ok()).filter(|bits| *bits <= most)?;
    Some(format!("{address}/{bits}").into_bytes())
}

//! How a source compares the values of its fields: one form for all values that its database considers
//! equal.

use std::{collections::HashMap, fmt, sync::Arc};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};

use crate::{Error, ErrorKind, Result, canonical};

/// The value of a field of any type, for a [`Compare`].
///
/// `None` and `()` are [`Null`](Self::Null), `Some(x)` is `x`, a struct is a map, and a variant is its name or a map of
/// one entry, as JSON has it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum FieldValue {
    /// No value.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer of any width.
    Integer(i128),
    /// A float of 32 bits; never NaN.
    Float32(f32),
    /// A float of 64 bits; never NaN.
    Float64(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list, a set or a tuple.
    List(Vec<Self>),
    /// A map or a struct.
    Map(Vec<(Self, Self)>),
}

impl<'de> Deserialize<'de> for FieldValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = FieldValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> std::result::Result<FieldValue, E> {
        Ok(FieldValue::Null)
    }

    fn visit_none<E>(self) -> std::result::Result<FieldValue, E> {
        Ok(FieldValue::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, some: D) -> std::result::Result<FieldValue, D::Error> {
        some.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<FieldValue, E> {
        Ok(FieldValue::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<FieldValue, E> {
        Ok(FieldValue::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<FieldValue, E> {
        Ok(FieldValue::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> std::result::Result<FieldValue, E> {
        Ok(FieldValue::Integer(value))
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> std::result::Result<FieldValue, E> {
        value.try_into().map(FieldValue::Integer).map_err(|_| E::custom("an integer of more than 127 bits"))
    }

    fn visit_f32<E>(self, value: f32) -> std::result::Result<FieldValue, E> {
        Ok(FieldValue::Float32(value))
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<FieldValue, E> {
        Ok(FieldValue::Float64(value))
    }

    fn visit_char<E>(self, value: char) -> std::result::Result<FieldValue, E> {
        Ok(FieldValue::Text(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<FieldValue, E> {
        Ok(FieldValue::Text(value.to_owned()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> std::result::Result<FieldValue, E> {
        Ok(FieldValue::Bytes(value.to_vec()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<FieldValue, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(FieldValue::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> std::result::Result<FieldValue, A::Error> {
        let mut map = Vec::new();
        while let Some(pair) = pairs.next_entry()? {
            map.push(pair);
        }
        Ok(FieldValue::Map(map))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> std::result::Result<FieldValue, D::Error> {
        inner.deserialize_any(self)
    }

    fn visit_enum<A: serde::de::EnumAccess<'de>>(self, _: A) -> std::result::Result<FieldValue, A::Error> {
        Err(A::Error::custom("a variant"))
    }
}

/// How the values of one field are compared: usually that of a column's type.
pub trait Compare: fmt::Debug + Send + Sync + 'static {
    /// The form of a value: two values have one form if the database considers them equal.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a value without a known form, such as a time that is written in an unknown way.
    fn form(&self, value: &FieldValue) -> Result<Vec<u8>>;
}

#[derive(Debug, Clone)]
enum Comparison {
    By(Arc<dyn Compare>),
    Refused(Arc<str>),
}

/// How the values of the fields of a source are compared, by their stored names. A field that is not named is compared
/// as written: two values are equal if serde writes them equal.
#[derive(Debug, Clone, Default)]
pub struct Comparisons {
    fields: HashMap<String, Comparison>,
}

impl Comparisons {
    /// All fields are compared as written.
    #[must_use]
    pub fn as_written() -> Self {
        Self::default()
    }

    /// A field is compared by its forms.
    #[must_use]
    pub fn by(mut self, field: impl Into<String>, compare: Arc<dyn Compare>) -> Self {
        self.fields.insert(field.into(), Comparison::By(compare));
        self
    }

    /// A field cannot be compared. The reason names the field, its type and the fix.
    #[must_use]
    pub fn refused(mut self, field: impl Into<String>, reason: impl Into<Arc<str>>) -> Self {
        self.fields.insert(field.into(), Comparison::Refused(reason.into()));
        self
    }

    /// An error for the first of some fields that cannot be compared.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], with the reason.
    pub fn check<'a>(&self, fields: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let refused = fields.into_iter().find_map(|field| match self.fields.get(field) {
            Some(Comparison::Refused(reason)) => Some(reason),
            _ => None,
        });
        refused.map_or(Ok(()), |reason| Err(Error::new(ErrorKind::Config, reason.to_string())))
    }

    /// The form of a value that is in canonical bytes. Every form shows where it ends.
    pub(super) fn form(&self, field: &str, value: Bytes) -> Result<Bytes> {
        let compare = match self.fields.get(field) {
            None => return Ok(value),
            Some(Comparison::By(compare)) => compare,
            Some(Comparison::Refused(reason)) => return Err(Error::new(ErrorKind::Config, reason.to_string())),
        };
        let value: FieldValue = canonical::from_slice(&value).map_err(|error| {
            let message = "the value of a field cannot be compared as the source compares it";
            Error::new(ErrorKind::Argument, message).with_source(error).with_context("field", field)
        })?;
        let form = compare.form(&value).map_err(|error| error.with_context("field", field))?;
        // No canonical value begins with this byte.
        let mut bytes = vec![0xff];
        bytes.extend((form.len() as u64).to_be_bytes());
        bytes.extend(form);
        Ok(bytes.into())
    }
}

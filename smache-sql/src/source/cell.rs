//! The values of a row, to types of serde: numbers with all of their digits.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor},
    forward_to_deserialize_any,
};
use serde_json::{Error, value::RawValue};

/// The columns of a row, their values not yet read.
pub(super) type Columns<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// The kind of the numbers of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// Decimals. A type that takes anything gets their digits, and so does one of text.
    #[cfg(feature = "postgres")]
    Decimal,
    /// Decimals in a database that keeps floats: the digits are the fewest that tell the float.
    #[cfg(feature = "sqlite")]
    DecimalFloat,
    /// Floats. A value that is no finite number is a text in JSON.
    #[cfg(feature = "postgres")]
    Float,
}

/// The columns whose numbers are not those of JSON.
pub(crate) type NumberColumns = BTreeMap<String, Numbers>;

/// One value.
#[derive(Clone, Copy)]
pub(super) struct Cell<'a> {
    json: &'a str,
    numbers: Option<Numbers>,
}

impl<'a> Cell<'a> {
    pub(super) fn of(column: &str, value: &'a RawValue, numbers: &NumberColumns) -> Self {
        Self { json: value.get(), numbers: numbers.get(column).copied() }
    }

    /// The digits of a decimal.
    fn digits(self) -> Option<Cow<'a, str>> {
        if !self.json.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return None;
        }
        match self.numbers? {
            #[cfg(feature = "postgres")]
            Numbers::Decimal => Some(Cow::Borrowed(self.json)),
            #[cfg(feature = "sqlite")]
            Numbers::DecimalFloat if self.json.contains(['.', 'e', 'E']) => {
                self.json.parse::<f64>().ok().map(|float| Cow::Owned(float.to_string()))
            }
            #[cfg(feature = "sqlite")]
            Numbers::DecimalFloat => Some(Cow::Borrowed(self.json)),
            #[cfg(feature = "postgres")]
            Numbers::Float => None,
        }
    }

    /// A float that JSON has no number for.
    fn extreme(self) -> Option<f64> {
        self.numbers?;
        match self.json {
            "\"NaN\"" => Some(f64::NAN),
            "\"Infinity\"" => Some(f64::INFINITY),
            "\"-Infinity\"" => Some(f64::NEG_INFINITY),
            _ => None,
        }
    }

    fn plain(self) -> serde_json::Deserializer<serde_json::de::StrRead<'a>> {
        serde_json::Deserializer::from_str(self.json)
    }
}

macro_rules! plainly {
    ($($method:ident($($argument:ident: $type:ty),*))*) => {
        $(fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, Error> {
            self.plain().$method($($argument,)* visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Cell<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.digits() {
            Some(digits) => visitor.visit_str(&digits),
            None => self.plain().deserialize_any(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.digits() {
            Some(digits) => visitor.visit_str(&digits),
            None => self.plain().deserialize_str(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.extreme() {
            Some(float) => visitor.visit_f64(float),
            None => self.plain().deserialize_f32(visitor),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.extreme() {
            Some(float) => visitor.visit_f64(float),
            None => self.plain().deserialize_f64(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.json == "null" { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        // A type that passes raw JSON on asks for it by a special name.
        if name.starts_with("$serde_json") {
            return self.plain().deserialize_newtype_struct(name, visitor);
        }
        visitor.visit_newtype_struct(self)
    }

    plainly! {
        deserialize_bool()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_char() deserialize_bytes() deserialize_byte_buf() deserialize_unit()
        deserialize_unit_struct(name: &'static str)
        deserialize_seq() deserialize_tuple(len: usize) deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_map() deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
        deserialize_identifier() deserialize_ignored_any()
    }
}

/// Columns as a struct or map, or, in the order that they are in here, as a tuple.
pub(super) struct Cells<'a>(pub(super) Vec<(&'a str, Cell<'a>)>);

impl<'de> Deserializer<'de> for Cells<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Remaining { cells: self.0.into_iter(), next: None })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let count = self.0.len();
        let mut remaining = Remaining { cells: self.0.into_iter(), next: None };
        let value = visitor.visit_seq(&mut remaining)?;
        match remaining.cells.len() {
            0 => Ok(value),
            left => Err(Error::custom(format_args!("{} values for {count} columns", count - left))),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct map struct enum
        identifier ignored_any
    }
}

struct Remaining<'a> {
    cells: std::vec::IntoIter<(&'a str, Cell<'a>)>,
    next: Option<Cell<'a>>,
}

impl<'de> MapAccess<'de> for Remaining<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((column, cell)) = self.cells.next() else { return Ok(None) };
        self.next = Some(cell);
        seed.deserialize(column.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let cell = self.next.take().ok_or_else(|| Error::custom("a value without its column"))?;
        seed.deserialize(cell)
    }
}

impl<'de> SeqAccess<'de> for &mut Remaining<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.cells.next().map(|(_, cell)| seed.deserialize(cell)).transpose()
    }
}

impl fmt::Debug for Cell<'_> {
    // Without the value, which may be personal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").field("numbers", &self.numbers).finish_non_exhaustive()
    }
}

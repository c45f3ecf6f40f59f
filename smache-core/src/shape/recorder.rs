//! Deserializes from nothing: answers each request of a type with a sample, and records the request.

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
    value::{BorrowedStrDeserializer, MapDeserializer, SeqDeserializer},
};

use super::trace::{Integers, Refused, Result, Trace};

/// Samples for types that are written as text.
const TEXTS: [&str; 18] = [
    "",
    "1",
    "a",
    "00000000-0000-0000-0000-000000000000",
    "000000000000000000000000",
    "1970-01-01T00:00:00Z",
    "1970-01-01T00:00:00",
    "1970-01-01 00:00:00",
    "1970-01-01",
    "00:00:00",
    "127.0.0.1",
    "::1",
    "127.0.0.1:80",
    "[::1]:80",
    "http://localhost/",
    "a@example.org",
    "EUR",
    "1.0.0",
];

const BYTES: [&[u8]; 4] = [&[], &[0; 12], &[0; 16], &[0; 32]];

macro_rules! numbers {
    ($($method:ident $visit:ident $name:literal)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.step()?;
            self.line(if self.integers == Integers::ByValue { "integer" } else { $name });
            visitor.$visit([0, 1, 10][self.sample(3)])
        })*
    };
}

impl<'de> Deserializer<'de> for &mut Trace {
    type Error = Refused;

    numbers! {
        deserialize_u8 visit_u8 "u8"
        deserialize_u16 visit_u16 "u16"
        deserialize_u32 visit_u32 "u32"
        deserialize_u64 visit_u64 "u64"
        deserialize_u128 visit_u128 "u128"
        deserialize_i8 visit_i8 "i8"
        deserialize_i16 visit_i16 "i16"
        deserialize_i32 visit_i32 "i32"
        deserialize_i64 visit_i64 "i64"
        deserialize_i128 visit_i128 "i128"
    }

    /// A type that decides by its input. One that takes every kind is a value of any shape and hides nothing.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.step()?;
        self.line("any");
        let kind = self.kind(6);
        let value = match kind {
            0 => visitor.visit_str(""),
            1 => visitor.visit_u64(0),
            2 => visitor.visit_bool(false),
            3 => visitor.visit_unit(),
            4 => visitor.visit_seq(SeqDeserializer::new(std::iter::empty::<()>())),
            _ => visitor.visit_map(MapDeserializer::new(std::iter::empty::<((), ())>())),
        }?;
        self.made::<V>(kind);
        Ok(value)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.step()?;
        self.line("bool");
        visitor.visit_bool(self.sample(2) == 1)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.step()?;
        self.line("f32");
        visitor.visit_f32([0.0, 1.0][self.sample(2)])
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.step()?;
        self.line("f64");
        visitor.visit_f64([0.0, 1.0][self.sample(2)])
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.step()?;
        self.line("char");
        visitor.visit_char(['a', '1'][self.sample(2)])
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.step()?;
        self.line("text");
        visitor.visit_str(TEXTS[self.sample(TEXTS.len())])
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.step()?;
        self.line("bytes");
        visitor.visit_bytes(BYTES[self.sample(BYTES.len())])
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.step()?;
        self.line("option");
        if self.is_minimal() {
            return visitor.visit_none();
        }
        self.below("?", |trace| visitor.visit_some(trace))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.step()?;
        self.line("unit");
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value> {
        self.deserialize_unit(visitor)
    }

    /// Written as its content, but it may contain itself.
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value> {
        self.step()?;
        self.one_deeper::<V, _>(|trace| visitor.visit_newtype_struct(trace))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.step()?;
        self.line("list");
        let left = usize::from(!self.is_minimal());
        visitor.visit_seq(Items { trace: self, at: None, left })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        self.step()?;
        self.line(format_args!("tuple of {len}"));
        visitor.visit_seq(Items { trace: self, at: Some(0), left: len })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.one_deeper::<V, _>(|trace| trace.deserialize_tuple(len, visitor))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.step()?;
        self.line("map");
        let empty = self.is_minimal();
        visitor.visit_map(Entry { trace: self, ended: empty })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.step()?;
        self.one_deeper::<V, _>(|trace| trace.fields(fields, visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.step()?;
        if variants.is_empty() {
            self.line("never");
            return Err(Refused);
        }
        self.one_deeper::<V, _>(|trace| {
            trace.line(format_args!("one of {}", variants.len()));
            let chosen = trace.variant::<V>(variants.len(), |option| format!("|{}", variants[option]));
            let value = visitor.visit_enum(Variant { trace: &mut *trace, name: variants[chosen] })?;
            trace.made::<V>(chosen);
            Ok(value)
        })
    }

    /// A name that is not known: of the entries of a flattened struct, or of a hand-written variant.
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.step()?;
        self.line("name");
        self.hides();
        visitor.visit_str(TEXTS[self.sample(TEXTS.len())])
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.step()?;
        visitor.visit_unit()
    }

    fn is_human_readable(&self) -> bool {
        true
    }
}

impl Trace {
    /// The names come first, so that all are known even where no value can be made.
    fn fields<'de, V: Visitor<'de>>(&mut self, fields: &'static [&'static str], visitor: V) -> Result<V::Value> {
        self.line("struct");
        for field in fields {
            self.line(format_args!("has {field}"));
        }
        visitor.visit_map(Fields { trace: self, fields, value: None })
    }
}

/// The elements of a list, all at one place, or of a tuple, each at a separate place.
struct Items<'a> {
    trace: &'a mut Trace,
    at: Option<usize>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Refused;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let part = match &mut self.at {
            Some(at) => {
                *at += 1;
                format!("({at})")
            }
            None => "[]".to_owned(),
        };
        self.trace.below(part, |trace| seed.deserialize(trace)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The one entry of a map.
struct Entry<'a> {
    trace: &'a mut Trace,
    ended: bool,
}

impl<'de> MapAccess<'de> for Entry<'_> {
    type Error = Refused;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(None);
        }
        self.trace.below("{key}", |trace| seed.deserialize(trace)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        self.trace.below("{value}", |trace| seed.deserialize(trace))
    }
}

/// The fields of a struct.
struct Fields<'a> {
    trace: &'a mut Trace,
    fields: &'static [&'static str],
    value: Option<&'static str>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Refused;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        let Some((&field, rest)) = self.fields.split_first() else { return Ok(None) };
        (self.fields, self.value) = (rest, Some(field));
        seed.deserialize(BorrowedStrDeserializer::new(field)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        let field = self.value.take().unwrap_or_default();
        self.trace.below(format_args!(".{field}"), |trace| seed.deserialize(trace))
    }
}

/// A variant of an enum.
struct Variant<'a> {
    trace: &'a mut Trace,
    name: &'static str,
}

impl<'a, 'de> EnumAccess<'de> for Variant<'a> {
    type Error = Refused;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self)> {
        let variant = seed.deserialize(BorrowedStrDeserializer::new(self.name))?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Refused;

    fn unit_variant(self) -> Result<()> {
        self.trace.below(format_args!("|{}", self.name), |trace| {
            trace.line("unit variant");
            Ok(())
        })
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value> {
        self.trace.below(format_args!("|{}", self.name), |trace| {
            trace.line("newtype variant");
            seed.deserialize(trace)
        })
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        self.trace.below(format_args!("|{}", self.name), |trace| {
            trace.line(format_args!("tuple variant of {len}"));
            visitor.visit_seq(Items { trace, at: Some(0), left: len })
        })
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value> {
        self.trace.below(format_args!("|{}", self.name), |trace| {
            trace.line("struct variant");
            trace.fields(fields, visitor)
        })
    }
}

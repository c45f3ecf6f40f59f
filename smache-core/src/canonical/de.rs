//! Bytes to values.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::decoder::{Decoder, Integer, Result};
use super::{DecodeError, DecodeReason, Integers, tag};

impl<'de> Decoder<'de> {
    /// Visits the next value by its tag.
    fn visit<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value> {
        let tag = self.byte()?;
        match tag {
            tag::UNIT => visitor.visit_unit(),
            tag::FALSE => visitor.visit_bool(false),
            tag::TRUE => visitor.visit_bool(true),
            tag::U8..=tag::I128 => self.visit_integer(tag, visitor),
            tag::F32 => {
                let value = f32::from_be_bytes(self.fixed()?);
                visitor.visit_f32(self.float(value)?)
            }
            tag::F64 => {
                let value = f64::from_be_bytes(self.fixed()?);
                visitor.visit_f64(self.float(value)?)
            }
            tag::CHAR => {
                let code = u32::from_be_bytes(self.fixed()?);
                let character = char::from_u32(code).ok_or_else(|| self.error(DecodeReason::NotAChar(code)))?;
                visitor.visit_char(character)
            }
            tag::STR | tag::UNIT_VARIANT => visitor.visit_borrowed_str(self.text()?),
            tag::BYTES => visitor.visit_borrowed_bytes(self.counted()?),
            tag::NONE => visitor.visit_none(),
            tag::SOME => self.nested(|decoder| visitor.visit_some(decoder)),
            tag::SEQ | tag::TUPLE => self.nested(|decoder| decoder.items(visitor)),
            tag::MAP | tag::STRUCT => self.nested(|decoder| decoder.pairs(visitor)),
            tag::NEWTYPE_VARIANT | tag::TUPLE_VARIANT | tag::STRUCT_VARIANT => self.nested(|decoder| {
                let name = Some(decoder.text()?);
                let mut entry = VariantEntry { name, content: Some(Content { decoder, tag }) };
                let value = visitor.visit_map(&mut entry)?;
                match entry.content {
                    None => Ok(value),
                    Some(unread) => Err(unread.decoder.error(DecodeReason::Unread)),
                }
            }),
            unknown => Err(DecodeError::new(DecodeReason::Tag(unknown), self.at - 1)),
        }
    }

    /// Visits an integer: by its type where integers are written as typed, and otherwise as JSON gives it.
    fn visit_integer<V: Visitor<'de>>(&mut self, tag: u8, visitor: V) -> Result<V::Value> {
        if self.integers == Integers::AsTyped {
            return match tag {
                tag::U8 => visitor.visit_u8(u8::from_be_bytes(self.fixed()?)),
                tag::U16 => visitor.visit_u16(u16::from_be_bytes(self.fixed()?)),
                tag::U32 => visitor.visit_u32(u32::from_be_bytes(self.fixed()?)),
                tag::U64 => visitor.visit_u64(u64::from_be_bytes(self.fixed()?)),
                tag::U128 => visitor.visit_u128(u128::from_be_bytes(self.fixed()?)),
                tag::I8 => visitor.visit_i8(i8::from_be_bytes(self.fixed()?)),
                tag::I16 => visitor.visit_i16(i16::from_be_bytes(self.fixed()?)),
                tag::I32 => visitor.visit_i32(i32::from_be_bytes(self.fixed()?)),
                tag::I64 => visitor.visit_i64(i64::from_be_bytes(self.fixed()?)),
                _ => visitor.visit_i128(i128::from_be_bytes(self.fixed()?)),
            };
        }
        match self.tagged(tag)? {
            Some(Integer::Unsigned(value)) => match u64::try_from(value) {
                Ok(value) => visitor.visit_u64(value),
                Err(_) => visitor.visit_u128(value),
            },
            Some(Integer::Signed(value)) => match i64::try_from(value) {
                Ok(value) => visitor.visit_i64(value),
                Err(_) => visitor.visit_i128(value),
            },
            None => Err(self.error(DecodeReason::Tag(tag))),
        }
    }

    /// Visits values up to the end that closes them.
    fn items<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value> {
        let mut items = Items { decoder: self, closed: false };
        let value = visitor.visit_seq(&mut items)?;
        let closed = items.closed;
        self.close(closed)?;
        Ok(value)
    }

    /// Visits entries up to the end that closes them.
    fn pairs<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value> {
        let mut pairs = Pairs { decoder: self, closed: false, last: None };
        let value = visitor.visit_map(&mut pairs)?;
        let closed = pairs.closed;
        self.close(closed)?;
        Ok(value)
    }
}

macro_rules! integers {
    ($($method:ident => $visit:ident,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            let start = self.at;
            match self.integer()? {
                // A visitor may know only the integer type that it asked for.
                Some(integer) => visitor.$visit(integer).map_err(|error: DecodeError| error.or_at(start)),
                None => self.deserialize_any(visitor),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for &mut Decoder<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let start = self.at;
        self.visit(visitor).map_err(|error| error.or_at(start))
    }

    integers! {
        deserialize_u8 => visit_u8,
        deserialize_u16 => visit_u16,
        deserialize_u32 => visit_u32,
        deserialize_u64 => visit_u64,
        deserialize_u128 => visit_u128,
        deserialize_i8 => visit_i8,
        deserialize_i16 => visit_i16,
        deserialize_i32 => visit_i32,
        deserialize_i64 => visit_i64,
        deserialize_i128 => visit_i128,
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.peek()? {
            tag::NONE | tag::SOME | tag::UNIT => self.deserialize_any(visitor),
            // A type may write its optional value by hand, and leave out `Some` as other formats do.
            _ => self.nested(|decoder| visitor.visit_some(decoder)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value> {
        // Consumes nothing, so a type that contains itself would recurse without end.
        self.nested(|decoder| visitor.visit_newtype_struct(decoder))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let start = self.at;
        let tag = self.peek()?;
        let value = match tag {
            tag::STR | tag::UNIT_VARIANT => {
                self.at += 1;
                let name = self.text()?;
                visitor.visit_enum(Variant { name, content: Content { decoder: self, tag: tag::UNIT_VARIANT } })
            }
            tag::NEWTYPE_VARIANT | tag::TUPLE_VARIANT | tag::STRUCT_VARIANT => {
                self.at += 1;
                self.nested(|decoder| {
                    let name = decoder.text()?;
                    visitor.visit_enum(Variant { name, content: Content { decoder, tag } })
                })
            }
            _ => self.visit(visitor),
        };
        value.map_err(|error| error.or_at(start))
    }

    fn is_human_readable(&self) -> bool {
        true
    }

    forward_to_deserialize_any! {
        bool f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}

struct Items<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    closed: bool,
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        self.closed = self.closed || self.decoder.ended()?;
        if self.closed {
            return Ok(None);
        }
        seed.deserialize(&mut *self.decoder).map(Some)
    }
}

struct Pairs<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    closed: bool,
    last: Option<&'de [u8]>,
}

impl<'de> MapAccess<'de> for Pairs<'_, 'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        self.closed = self.closed || self.decoder.ended()?;
        if self.closed {
            return Ok(None);
        }
        let start = self.decoder.at;
        let value = seed.deserialize(&mut *self.decoder)?;
        let input = self.decoder.input;
        let key = &input[start..self.decoder.at];
        if self.last.replace(key).is_some_and(|last| last >= key) {
            let reason = DecodeReason::NotCanonical("the keys of a map are not in ascending order");
            return Err(DecodeError::new(reason, start));
        }
        Ok(Some(value))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        seed.deserialize(&mut *self.decoder)
    }
}

/// A variant as a map of its name to its content, for visitors that do not ask for an enum.
struct VariantEntry<'a, 'de> {
    name: Option<&'de str>,
    content: Option<Content<'a, 'de>>,
}

impl<'de> MapAccess<'de> for VariantEntry<'_, 'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        let name = self.name.take();
        name.map(|name| seed.deserialize(BorrowedStrDeserializer::new(name))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        match self.content.take() {
            Some(Content { decoder, tag: tag::NEWTYPE_VARIANT }) => seed.deserialize(decoder),
            Some(content) => seed.deserialize(content),
            None => Err(DecodeError::custom("a variant has one value only")),
        }
    }
}

struct Variant<'a, 'de> {
    name: &'de str,
    content: Content<'a, 'de>,
}

impl<'a, 'de> EnumAccess<'de> for Variant<'a, 'de> {
    type Error = DecodeError;
    type Variant = Content<'a, 'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content<'a, 'de>)> {
        let name = seed.deserialize(BorrowedStrDeserializer::new(self.name))?;
        Ok((name, self.content))
    }
}

/// The content after the name of a variant.
struct Content<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    tag: u8,
}

impl Content<'_, '_> {
    fn mismatch<T>(&self, expected: &str) -> Result<T> {
        let found = match self.tag {
            tag::UNIT_VARIANT => Unexpected::UnitVariant,
            tag::NEWTYPE_VARIANT => Unexpected::NewtypeVariant,
            tag::TUPLE_VARIANT => Unexpected::TupleVariant,
            _ => Unexpected::StructVariant,
        };
        Err(DecodeError::invalid_type(found, &expected))
    }
}

impl<'de> VariantAccess<'de> for Content<'_, 'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<()> {
        match self.tag {
            tag::UNIT_VARIANT => Ok(()),
            _ => self.mismatch("unit variant"),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        match self.tag {
            tag::NEWTYPE_VARIANT => seed.deserialize(self.decoder),
            _ => self.mismatch("newtype variant"),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value> {
        match self.tag {
            tag::TUPLE_VARIANT => self.decoder.items(visitor),
            _ => self.mismatch("tuple variant"),
        }
    }

    fn struct_variant<V: Visitor<'de>>(self, _fields: &'static [&'static str], visitor: V) -> Result<V::Value> {
        match self.tag {
            tag::STRUCT_VARIANT => self.decoder.pairs(visitor),
            _ => self.mismatch("struct variant"),
        }
    }
}

/// The content of a tuple or struct variant as a separate value.
impl<'de> Deserializer<'de> for Content<'_, 'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.tag {
            tag::TUPLE_VARIANT => self.decoder.items(visitor),
            _ => self.decoder.pairs(visitor),
        }
    }

    fn is_human_readable(&self) -> bool {
        true
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

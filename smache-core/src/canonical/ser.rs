//! Values to bytes.

use std::fmt::{self, Display, Write as _};

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::encoder::{Encoder, Entry, Result, leb128};
use super::{EncodeError, Integers, tag};

impl Encoder {
    fn items(&mut self) -> Result<Items<'_>> {
        self.enter()?;
        Ok(Items { encoder: self })
    }

    fn pairs(&mut self) -> Result<Pairs<'_>> {
        self.enter()?;
        Ok(Pairs { base: self.entries.len(), last: None, key: None, ascending: true, encoder: self })
    }
}

macro_rules! integers {
    ($($method:ident($type:ty) => $tag:ident,)*) => {
        $(fn $method(self, value: $type) -> Result {
            match self.integers {
                Integers::AsTyped => self.fixed(tag::$tag, value.to_be_bytes()),
                Integers::ByValue => match u128::try_from(value) {
                    Ok(natural) => self.natural(natural),
                    // All types but `u128` are within `i128`, and no `u128` is below 0.
                    Err(_) => self.negative(value as i128),
                },
            }
        })*
    };
}

macro_rules! floats {
    ($($method:ident($type:ty) => $tag:ident,)*) => {
        $(fn $method(self, value: $type) -> Result {
            if value.is_nan() {
                return Err(EncodeError::NotANumber);
            }
            // -0.0 == 0.0, and equal values must encode equal.
            let value = if value == 0.0 { 0.0 } else { value };
            self.fixed(tag::$tag, value.to_be_bytes())
        })*
    };
}

impl<'a> Serializer for &'a mut Encoder {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Items<'a>;
    type SerializeTupleStruct = Items<'a>;
    type SerializeTupleVariant = Items<'a>;
    type SerializeMap = Pairs<'a>;
    type SerializeStruct = Pairs<'a>;
    type SerializeStructVariant = Pairs<'a>;

    integers! {
        serialize_u8(u8) => U8,
        serialize_u16(u16) => U16,
        serialize_u32(u32) => U32,
        serialize_u64(u64) => U64,
        serialize_u128(u128) => U128,
        serialize_i8(i8) => I8,
        serialize_i16(i16) => I16,
        serialize_i32(i32) => I32,
        serialize_i64(i64) => I64,
        serialize_i128(i128) => I128,
    }

    floats! {
        serialize_f32(f32) => F32,
        serialize_f64(f64) => F64,
    }

    fn serialize_bool(self, value: bool) -> Result {
        self.byte(if value { tag::TRUE } else { tag::FALSE })
    }

    fn serialize_char(self, value: char) -> Result {
        self.fixed(tag::CHAR, u32::from(value).to_be_bytes())
    }

    fn serialize_str(self, value: &str) -> Result {
        self.counted(tag::STR, value.as_bytes())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result {
        self.counted(tag::BYTES, value)
    }

    fn serialize_none(self) -> Result {
        self.byte(tag::NONE)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result {
        self.byte(tag::SOME)?;
        self.nested(value)
    }

    fn serialize_unit(self) -> Result {
        self.byte(tag::UNIT)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result {
        self.byte(tag::UNIT)
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Result {
        self.counted(tag::UNIT_VARIANT, variant.as_bytes())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Result {
        // Writes nothing, but the decoder recurses here.
        self.nested(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result {
        self.counted(tag::NEWTYPE_VARIANT, variant.as_bytes())?;
        self.nested(value)
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Items<'a>> {
        self.byte(tag::SEQ)?;
        self.items()
    }

    fn serialize_tuple(self, _len: usize) -> Result<Items<'a>> {
        self.byte(tag::TUPLE)?;
        self.items()
    }

    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<Items<'a>> {
        self.serialize_tuple(len)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Items<'a>> {
        self.counted(tag::TUPLE_VARIANT, variant.as_bytes())?;
        self.items()
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Pairs<'a>> {
        self.byte(tag::MAP)?;
        self.pairs()
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Pairs<'a>> {
        self.byte(tag::STRUCT)?;
        self.pairs()
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Pairs<'a>> {
        self.counted(tag::STRUCT_VARIANT, variant.as_bytes())?;
        self.pairs()
    }

    /// Writes straight into the buffer: a string in between could outgrow the limit unseen.
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result {
        self.byte(tag::STR)?;
        let start = self.buf.len();
        let mut text = Text { encoder: self, full: None };
        let written = write!(text, "{value}");
        if let Some(error) = text.full {
            return Err(error);
        }
        written.map_err(EncodeError::custom)?;
        let (length, used) = leb128(self.buf.len() - start);
        self.reserve(used)?;
        self.buf.splice(start..start, length[..used].iter().copied());
        Ok(())
    }

    fn is_human_readable(&self) -> bool {
        true
    }
}

/// Takes the text of a `Display`, and keeps the error that `fmt::Error` cannot carry.
struct Text<'a> {
    encoder: &'a mut Encoder,
    full: Option<EncodeError>,
}

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if let Err(error) = self.encoder.reserve(part.len()) {
            self.full = Some(error);
            return Err(fmt::Error);
        }
        self.encoder.buf.extend_from_slice(part.as_bytes());
        Ok(())
    }
}

/// The values of a sequence or of a tuple.
#[derive(Debug)]
pub(super) struct Items<'a> {
    encoder: &'a mut Encoder,
}

macro_rules! items {
    ($($trait:ident::$method:ident,)*) => {
        $(impl $trait for Items<'_> {
            type Ok = ();
            type Error = EncodeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
                value.serialize(&mut *self.encoder)
            }

            fn end(self) -> Result {
                self.encoder.leave()
            }
        })*
    };
}

items! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
}

/// The entries of a map or of a struct.
#[derive(Debug)]
pub(super) struct Pairs<'a> {
    encoder: &'a mut Encoder,
    /// Where this map's part of the stack of entries begins.
    base: usize,
    /// The last finished entry. It is not on the stack yet, so that a map of one entry needs no stack.
    last: Option<Entry>,
    /// The start and the end of a key whose value is still to come.
    key: Option<(usize, usize)>,
    /// Whether all entries so far came in order.
    ascending: bool,
}

impl Pairs<'_> {
    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result {
        let start = self.encoder.buf.len();
        key.serialize(&mut *self.encoder)?;
        if self.key.replace((start, self.encoder.buf.len())).is_some() {
            return Err(EncodeError::custom("a map has a key without a value"));
        }
        Ok(())
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        let Some((start, middle)) = self.key.take() else {
            return Err(EncodeError::custom("a map has a value without a key"));
        };
        value.serialize(&mut *self.encoder)?;
        let entry = Entry { start, value: middle, end: self.encoder.buf.len() };
        if let Some(last) = self.last.replace(entry) {
            let buf = &self.encoder.buf;
            self.ascending = self.ascending && buf[last.start..last.value] < buf[start..middle];
            self.encoder.push(last);
        }
        Ok(())
    }

    fn finish(self) -> Result {
        if self.key.is_some() {
            return Err(EncodeError::custom("a map has a key without a value"));
        }
        if !self.ascending {
            self.encoder.entries.extend(self.last);
            self.encoder.sort(self.base)?;
        }
        self.encoder.entries.truncate(self.base);
        self.encoder.leave()
    }
}

impl SerializeMap for Pairs<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        self.value(value)
    }

    fn end(self) -> Result {
        self.finish()
    }
}

macro_rules! fields {
    ($($trait:ident,)*) => {
        $(impl $trait for Pairs<'_> {
            type Ok = ();
            type Error = EncodeError;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result {
                self.key(name)?;
                self.value(value)
            }

            fn end(self) -> Result {
                self.finish()
            }
        })*
    };
}

fields! {
    SerializeStruct,
    SerializeStructVariant,
}

//! The canonical encoding of the arguments of a call.
//!
//! The bytes of [`to_vec`] are hashed into the key of an entry, and stored so that a worker in another process can
//! decode the arguments again with [`from_slice`]. Both uses need one form per value: two forms of one value would be
//! two entries, and with one form for two values the store would answer one with the result of the other.
//!
//! ```
//! use smache_core::canonical::{from_slice, to_vec};
//!
//! let args = ("maths", Some(7_u32));
//! let bytes = to_vec(&args, 1024)?;
//! let (course, week): (String, Option<u32>) = from_slice(&bytes)?;
//! assert_eq!((course.as_str(), week), args);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The format
//!
//! **The format is persisted: changing it changes every key.** A value is one tag byte and its content. Every value
//! shows where it ends, so no encoding is the beginning of another one.
//!
//! | tag | serde's kind | content |
//! |---|---|---|
//! | `00` | end | none; closes the kinds marked "… `00`" below, and is never a value |
//! | `01` | unit, unit struct | none |
//! | `02`, `03` | `false`, `true` | none |
//! | `04` … `08` | an integer from 0 up | 1, 2, 4, 8, 16 bytes, big-endian, as few as hold it |
//! | `09` … `0d` | an integer below 0 | the same, two's complement |
//! | `0e`, `0f` | `f32`, `f64` | the 4 or 8 bytes of IEEE 754, big-endian; `-0.0` is written as `0.0`, NaN is refused |
//! | `10` | `char` | the scalar value as 4 bytes, big-endian |
//! | `11` | string | length, UTF-8 |
//! | `12` | bytes | length, the bytes |
//! | `13` | `None` | none |
//! | `14` | `Some` | the value |
//! | `15` | sequence | values … `00` |
//! | `16` | tuple, tuple struct | values … `00` |
//! | `17` | map | key, value … `00`, keys strictly ascending by their encoded bytes |
//! | `18` | struct | as a map: the keys are the names of the fields, encoded as strings (`11`) |
//! | `19` | unit variant | name |
//! | `1a` | newtype variant | name, value |
//! | `1b` | tuple variant | name, values … `00` |
//! | `1c` | struct variant | name, then as a struct … `00` |
//!
//! A newtype struct is written as its content. A *length* is the number of bytes as LEB128 (seven bits per byte, the
//! least significant first) in as few bytes as possible. A *name* is the name of a variant: length, UTF-8. Names of
//! types and indices of variants are not written, so renaming a type or reordering fields or variants changes no key.
//! All other tags are free; a successor of this format starts with one of them and so cannot be mistaken for it.
//!
//! The decoder accepts the canonical form only (minimal lengths and integers, ascending keys, no NaN, no `-0.0`), so a
//! value has one accepted encoding even if the bytes come from elsewhere. The tag decides the visit, not the type's
//! hint: `#[serde(flatten)]` and internally tagged, adjacently tagged and untagged enums decode. Where a visitor asks
//! for no kind in particular, a variant is a string or a map of one entry, as in JSON, because serde's buffer takes no
//! enums.
//!
//! # Equal values
//!
//! Values encode equal exactly if serde sees them equal:
//!
//! - Integers are one value whatever the width and sign of their type: `7_u32`, `7_u64` and `7_i64` are one key.
//!   Programs of two versions, and services of two teams, that declare an id as `i64` and as `u64` affect the same
//!   dependencies. A dynamic type gets them back as JSON gives them, so that a function cannot tell `Bson::Int32(1)`
//!   from `Bson::Int64(1)` in its arguments. A float is never an integer: `1.0` is not `1`, and `f32` is not `f64`.
//! - `-0.0 == 0.0` in Rust, so they share a form and a worker decodes `0.0`. NaN does not even equal itself, so no
//!   look-up could find it, and it is refused.
//! - Maps are sorted, so a `HashMap` and a `BTreeMap` of equal content encode equal. An ordered map (`bson::Document`,
//!   `IndexMap`) **loses its order**: where the order means something, as in a sort specification, pass a `Vec` of
//!   pairs.
//! - A set is a sequence for serde: the order of a `HashSet` is random, so equal sets encode differently. The cost is a
//!   recomputation, never a wrong result; pass a `BTreeSet`.
//! - Variants of an untagged enum that serialise alike are one value, here as in every serde format.
//! - `#[serde(skip)]` hides a field from the key as well.
//!
//! # Limits
//!
//! [`to_vec`] stops at the first byte above its limit, and both directions at [`MAX_DEPTH`] levels. [`from_slice`]
//! never panics, and allocates only as it consumes input: containers are closed rather than counted, so there is no
//! length to lie about (and serde need not know the length of an iterator up front).
//!
//! Serde buffers the content of a flattened field and of an internally tagged, adjacently tagged or untagged enum, and
//! its buffer has no place for 128-bit integers: the decoder reports an error, or an untagged enum goes on to its next
//! variant. That buffer always calls itself human readable, and so does this format, although it is not: a type that
//! writes itself differently for people (`IpAddr`, uuids) would otherwise not decode out of it.
//!
//! # Why not an existing format
//!
//! The ideas are those of deterministic CBOR (RFC 8949, section 4.2: shortest form, keys in the order of their encoded
//! bytes, no duplicates) and of postcard (explicit options, LEB128 lengths). Neither fits unchanged. CBOR has one
//! `null`: serde's bindings write `None` and `()` as it, and `Some(x)` as `x`, so `None`, `Some(None)` and `()` are one
//! key. postcard does not describe itself, so `deserialize_any`, and with it flattening, tagged and untagged enums and
//! `ObjectId`s, cannot be decoded; it names variants by index, and leaves maps unsorted.

mod de;
mod decoder;
mod encoder;
mod error;
mod ser;
#[cfg(test)]
mod tests;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::error::{DecodeError, DecodeReason, EncodeError};

/// The deepest nesting that is encoded or decoded: each sequence, map, struct, `Some`, newtype and variant with content
/// that encloses a value is one level.
pub const MAX_DEPTH: usize = 128;

/// Encodes a value in at most `limit` bytes.
///
/// Values that serde sees equal give equal bytes, others never do; see the [module](self) for the details.
///
/// # Errors
///
/// A NaN, more than `limit` bytes (writing stops there), more than [`MAX_DEPTH`] levels, a map with the same key twice,
/// and any error of the value's `Serialize`.
pub fn to_vec<T: Serialize + ?Sized>(value: &T, limit: usize) -> Result<Vec<u8>, EncodeError> {
    let mut encoder = encoder::Encoder::new(limit, Integers::ByValue);
    value.serialize(&mut encoder)?;
    Ok(encoder.finish())
}

/// Encodes a value with integers of the width that their types have: for results, which decode to the same types. The
/// bytes are no canonical form, and no key.
pub(crate) fn to_vec_as_typed<T: Serialize + ?Sized>(value: &T, limit: usize) -> Result<Vec<u8>, EncodeError> {
    let mut encoder = encoder::Encoder::new(limit, Integers::AsTyped);
    value.serialize(&mut encoder)?;
    Ok(encoder.finish())
}

/// Decodes a value that [`to_vec`] encoded.
///
/// The bytes need not be trusted: decoding never panics, recurses at most [`MAX_DEPTH`] levels, and allocates no more
/// than the input fills.
///
/// # Errors
///
/// Bytes that are not the canonical encoding of a value of this type, with the reason and the place; bytes after the
/// value are refused as well.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    decode(bytes, Integers::ByValue)
}

/// Decodes a value that [`to_vec_as_typed`] encoded.
pub(crate) fn from_slice_as_typed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    decode(bytes, Integers::AsTyped)
}

fn decode<T: DeserializeOwned>(bytes: &[u8], integers: Integers) -> Result<T, DecodeError> {
    let mut decoder = decoder::Decoder::new(bytes, integers);
    let value = T::deserialize(&mut decoder).map_err(|error| decoder.locate(error))?;
    decoder.finish()?;
    Ok(value)
}

/// The form in which integers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Integers {
    /// One form per value.
    ByValue,
    /// One form per type and value.
    AsTyped,
}

/// The encodings of the elements of a tuple, each as [`to_vec`] gives it for the element alone. Nothing for `()`.
pub(crate) fn elements(bytes: &[u8]) -> Result<Vec<&[u8]>, DecodeError> {
    let mut decoder = decoder::Decoder::new(bytes, Integers::ByValue);
    let mut elements = Vec::new();
    if decoder.byte()? == tag::TUPLE {
        while !decoder.ended()? {
            let start = decoder.at;
            decoder.skip()?;
            elements.push(&bytes[start..decoder.at]);
        }
    }
    decoder.finish()?;
    Ok(elements)
}

/// The tag bytes. They are persisted: none may change its meaning.
mod tag {
    pub(super) const END: u8 = 0x00;
    pub(super) const UNIT: u8 = 0x01;
    pub(super) const FALSE: u8 = 0x02;
    pub(super) const TRUE: u8 = 0x03;
    pub(super) const U8: u8 = 0x04;
    pub(super) const U16: u8 = 0x05;
    pub(super) const U32: u8 = 0x06;
    pub(super) const U64: u8 = 0x07;
    pub(super) const U128: u8 = 0x08;
    pub(super) const I8: u8 = 0x09;
    pub(super) const I16: u8 = 0x0a;
    pub(super) const I32: u8 = 0x0b;
    pub(super) const I64: u8 = 0x0c;
    pub(super) const I128: u8 = 0x0d;
    pub(super) const F32: u8 = 0x0e;
    pub(super) const F64: u8 = 0x0f;
    pub(super) const CHAR: u8 = 0x10;
    pub(super) const STR: u8 = 0x11;
    pub(super) const BYTES: u8 = 0x12;
    pub(super) const NONE: u8 = 0x13;
    pub(super) const SOME: u8 = 0x14;
    pub(super) const SEQ: u8 = 0x15;
    pub(super) const TUPLE: u8 = 0x16;
    pub(super) const MAP: u8 = 0x17;
    pub(super) const STRUCT: u8 = 0x18;
    pub(super) const UNIT_VARIANT: u8 = 0x19;
    pub(super) const NEWTYPE_VARIANT: u8 = 0x1a;
    pub(super) const TUPLE_VARIANT: u8 = 0x1b;
    pub(super) const STRUCT_VARIANT: u8 = 0x1c;
}

/// Whether two encodings are of equal values, in any order of their sets.
///
/// For serde the random order of a `HashSet` is that of a list. Moving an element moves its bytes and changes none, so
/// equal sets have the same bytes in another order; content that a format or a type loses changes the bytes.
pub(crate) fn equal_but_for_order(one: &[u8], other: &[u8]) -> bool {
    let count = |bytes: &[u8]| {
        let mut counts = [0_u32; 256];
        bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        counts
    };
    one == other || (one.len() == other.len() && count(one) == count(other))
}

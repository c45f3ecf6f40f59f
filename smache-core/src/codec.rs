//! How results become bytes: faithfully, or not at all.

mod message_pack;

use std::any::type_name;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, ErrorKind, Result, canonical};

/// The format of stored values that is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Codec {
    /// Text that people can read in the store.
    #[default]
    Json,
    /// Smaller.
    MessagePack,
}

/// The first byte of a stored value says how the rest is written.
const JSON: u8 = 1;
const MESSAGE_PACK: u8 = 2;
const CANONICAL: u8 = 3;
/// Not a value, but the error that is kept in its place.
pub(crate) const FAILURE: u8 = 4;

/// The deepest nesting of MessagePack, in its arrays and maps, that is written or read. One level of the canonical
/// form, which bounds stored values, is at most two of them. Without the bound, bytes from elsewhere overflow the
/// stack.
const MESSAGE_PACK_DEPTH: usize = 2 * canonical::MAX_DEPTH;

/// An encoded value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub(crate) bytes: Bytes,
    /// Equal for equal values, in any order of their maps.
    pub(crate) hash: [u8; 16],
    /// See [`form`].
    pub(crate) form: [u8; 8],
}

/// A hash of a value that changes when its type writes more or fewer fields than the type that stored it, for types
/// that hide their shape. Equal for equal values, in any order of their sets.
pub(crate) fn form<T: Serialize>(value: &T) -> [u8; 8] {
    // Not a number has no canonical form.
    let bytes = canonical::to_vec_as_typed(value, usize::MAX).ok().or_else(|| write(MESSAGE_PACK, value));
    bytes.map(|bytes| form_of(&bytes)).unwrap_or_default()
}

fn form_of(bytes: &[u8]) -> [u8; 8] {
    let mut counts = [0_u64; 256];
    bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let mut hasher = blake3::Hasher::new();
    for count in counts {
        hasher.update(&count.to_le_bytes());
    }
    let mut form = [0; 8];
    form.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    form
}

/// Encodes a value so that decoding it gives an equal one.
///
/// The preferred format comes first, and decoding checks it: JSON, for one, has no map with numbers as keys and no
/// `Some(None)`. A value that it cannot express is written in the next format that can.
pub(crate) fn encode<T: Serialize + DeserializeOwned>(value: &T, codec: Codec, limit: usize) -> Result<Encoded> {
    let canonical = match canonical::to_vec_as_typed(value, limit) {
        Ok(bytes) => bytes,
        Err(canonical::EncodeError::TooLong { .. }) => return Err(too_large(limit)),
        Err(canonical::EncodeError::TooDeep) => return Err(too_deep::<T>()),
        // Not a number: it has no canonical form, but it is a result like any other.
        Err(_) => return encode_without_canonical(value, limit),
    };
    let order = match codec {
        Codec::Json => [JSON, MESSAGE_PACK],
        Codec::MessagePack => [MESSAGE_PACK, JSON],
    };
    let faithful = |bytes: &Vec<u8>| {
        let again = decode::<T>(bytes).ok().and_then(|again| canonical::to_vec_as_typed(&again, limit).ok());
        again.is_some_and(|again| canonical::equal_but_for_order(&again, &canonical))
    };
    let written = order.into_iter().filter_map(|format| write(format, value)).find(faithful);
    let hash = hash(&canonical);
    let bytes = match written {
        Some(bytes) => bytes,
        None => {
            let bytes = [&[CANONICAL], canonical.as_slice()].concat();
            if !faithful(&bytes) {
                return Err(unfaithful::<T>());
            }
            bytes
        }
    };
    if bytes.len() > limit {
        return Err(too_large(limit));
    }
    Ok(Encoded { bytes: bytes.into(), hash, form: form_of(&canonical) })
}

fn encode_without_canonical<T: Serialize + DeserializeOwned>(value: &T, limit: usize) -> Result<Encoded> {
    let bytes = write(MESSAGE_PACK, value).ok_or_else(unfaithful::<T>)?;
    if bytes.len() > limit {
        return Err(too_large(limit));
    }
    let again = decode::<T>(&bytes).ok().and_then(|again| write(MESSAGE_PACK, &again));
    if again.as_ref() != Some(&bytes) {
        return Err(unfaithful::<T>());
    }
    Ok(Encoded { hash: hash(&bytes), form: form_of(&bytes), bytes: bytes.into() })
}

fn write<T: Serialize>(format: u8, value: &T) -> Option<Vec<u8>> {
    let mut bytes = vec![format];
    match format {
        JSON => serde_json::to_writer(&mut bytes, value).ok()?,
        _ => {
            let mut serializer = rmp_serde::Serializer::new(&mut bytes).with_struct_map();
            serializer.unstable_set_max_depth(MESSAGE_PACK_DEPTH);
            value.serialize(&mut serializer).ok()?;
        }
    }
    Some(bytes)
}

/// Whether an error is stored in the place of a value.
pub(crate) fn is_failure(bytes: &[u8]) -> bool {
    bytes.first() == Some(&FAILURE)
}

/// The hash of the stored bytes of an error.
pub(crate) fn hash_of_failure(bytes: &[u8]) -> [u8; 16] {
    hash(bytes)
}

/// Decodes a stored value.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when it is not a value of the type in a known format.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let corrupt = || Error::new(ErrorKind::Corrupt, format!("a stored value is not a `{}`", type_name::<T>()));
    match bytes.split_first() {
        Some((&JSON, rest)) => serde_json::from_slice(rest).map_err(|error| corrupt().with_source(error)),
        Some((&MESSAGE_PACK, rest)) if !message_pack::is_one_value(rest) => {
            Err(corrupt().with_context("bytes", bytes.len()))
        }
        Some((&MESSAGE_PACK, rest)) => {
            let mut deserializer = rmp_serde::Deserializer::from_read_ref(rest);
            deserializer.set_max_depth(MESSAGE_PACK_DEPTH);
            T::deserialize(&mut deserializer).map_err(|error| corrupt().with_source(error))
        }
        Some((&CANONICAL, rest)) => canonical::from_slice_as_typed(rest).map_err(|error| corrupt().with_source(error)),
        Some((format, _)) => Err(corrupt().with_context("format", format)),
        None => Err(corrupt().with_context("bytes", 0)),
    }
}

fn hash(bytes: &[u8]) -> [u8; 16] {
    let mut hash = [0; 16];
    hash.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    hash
}

fn too_large(limit: usize) -> Error {
    let fix = "return less, or raise `max_value_bytes` of the builder";
    Error::new(ErrorKind::TooLarge, format!("the result has more than {limit} bytes: {fix}"))
}

fn too_deep<T>() -> Error {
    let name = type_name::<T>();
    let deepest = canonical::MAX_DEPTH;
    let fix = "return it flat, such as a list in which each element names its parent";
    Error::new(ErrorKind::Function, format!("a result of type `{name}` nests deeper than {deepest} levels: {fix}"))
}

fn unfaithful<T>() -> Error {
    let name = type_name::<T>();
    let fix = "make its `Serialize` and `Deserialize` agree";
    Error::new(ErrorKind::Function, format!("a result of type `{name}` does not survive serialization: {fix}"))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use serde::Deserialize;

    use super::*;

    fn round<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) -> u8 {
        for codec in [Codec::Json, Codec::MessagePack] {
            let encoded = encode(value, codec, 1 << 20).expect("encodes");
            assert_eq!(&decode::<T>(&encoded.bytes).expect("decodes"), value);
        }
        encode(value, Codec::Json, 1 << 20).expect("encodes").bytes[0]
    }

    #[test]
    fn json_where_json_can_say_it_and_another_format_where_not() {
        assert_eq!(round(&"text".to_owned()), JSON);
        assert_eq!(round(&None::<u8>), JSON);
        assert_eq!(round(&()), JSON);
        assert_eq!(round(&BTreeMap::from([((1, 2), 3)])), MESSAGE_PACK);
        assert_eq!(round(&Some(None::<u8>)), CANONICAL);
        assert_eq!(round(&vec![None, Some(None), Some(Some(7))]), CANONICAL);
        assert_eq!(round(&f64::INFINITY), MESSAGE_PACK);
        assert_eq!(round(&u128::MAX), JSON);
    }

    #[test]
    fn not_a_number_is_a_result_like_any_other() {
        let encoded = encode(&f64::NAN, Codec::Json, 100).expect("encodes");
        assert!(decode::<f64>(&encoded.bytes).expect("decodes").is_nan());
    }

    #[test]
    fn equal_maps_hash_equal_in_any_order() {
        let forward: HashMap<u32, u32> = (0..100).map(|n| (n, n)).collect();
        let backward: HashMap<u32, u32> = (0..100).rev().map(|n| (n, n)).collect();
        let hash = |map| encode(map, Codec::Json, 1 << 20).expect("encodes").hash;
        assert_eq!(hash(&forward), hash(&backward));
    }

    #[test]
    fn a_value_above_the_limit_is_refused_with_the_fix() {
        let error = encode(&"x".repeat(1000), Codec::Json, 100).expect_err("too large");
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(error.to_string().contains("max_value_bytes"), "{error}");
    }

    #[test]
    fn a_type_that_does_not_survive_is_refused() {
        #[derive(Debug, Serialize, Deserialize)]
        struct Forgetful(#[serde(skip_deserializing)] u8, u8);
        let error = encode(&Forgetful(1, 2), Codec::Json, 100).expect_err("unfaithful");
        assert!(error.to_string().contains("survive"), "{error}");
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Tree {
        name: String,
        branches: Vec<Tree>,
    }

    impl Tree {
        fn of(levels: usize) -> Self {
            (1..levels).fold(Self::default(), |inner, _| Self { name: "a branch".into(), branches: vec![inner] })
        }
    }

    #[test]
    fn a_value_that_nests_too_deeply_is_refused_with_the_fix() {
        // Each tree is a struct and a sequence.
        let deepest = Tree::of(canonical::MAX_DEPTH / 2);
        for codec in [Codec::Json, Codec::MessagePack] {
            let encoded = encode(&deepest, codec, 1 << 20).expect("encodes");
            assert_eq!(decode::<Tree>(&encoded.bytes).expect("decodes"), deepest);
            let error = encode(&Tree::of(400), codec, 1 << 20).expect_err("too deep");
            assert!(error.to_string().contains("deeper than 128 levels: return it flat"), "{error}");
        }
    }

    #[test]
    fn stored_bytes_that_nest_without_end_are_corrupt_and_no_overflow() {
        // MessagePack: an array of one element, again and again; and a struct of a name and its branches.
        let arrays = [&[MESSAGE_PACK][..], &[0x91; 100_000]].concat();
        let trees = [&[MESSAGE_PACK][..], &[0x92, 0xa0, 0x91].repeat(100_000)].concat();
        // As small as the stacks of a runtime's threads.
        let small = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
            assert_eq!(decode::<serde_json::Value>(&arrays).expect_err("corrupt").kind(), ErrorKind::Corrupt);
            assert_eq!(decode::<Tree>(&trees).expect_err("corrupt").kind(), ErrorKind::Corrupt);
        });
        small.expect("a thread").join().expect("the stack is deep enough");
    }

    #[test]
    fn bytes_behind_a_stored_value_are_corrupt() {
        for codec in [Codec::Json, Codec::MessagePack] {
            let encoded = encode(&"text".to_owned(), codec, 100).expect("encodes").bytes;
            let longer = [&encoded[..], b"1"].concat();
            assert_eq!(decode::<String>(&longer).expect_err("corrupt").kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn announced_elements_that_are_not_there_take_no_memory() {
        // A struct of a name and branches, which announce four billion elements, again and again.
        let bytes = [&[MESSAGE_PACK][..], &[0x92, 0xa0, 0xdd, 0xff, 0xff, 0xff, 0xff].repeat(40)].concat();
        let decoded = smache_fuzz::bounded(bytes.len(), || decode::<Tree>(&bytes));
        assert_eq!(decoded.expect_err("corrupt").kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn foreign_bytes_are_corrupt_not_a_panic() {
        for bytes in [&b""[..], b"\x01{", b"\x02\xc1", b"\x09abc", b"\x03"] {
            assert_eq!(decode::<u32>(bytes).expect_err("corrupt").kind(), ErrorKind::Corrupt);
        }
    }
}

//! From a call to the identity of its entry, and back.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

use crate::{EntryId, Error, ErrorKind, FunctionKey, Result, canonical};

/// The identity of a call.
///
/// The id holds half of the hash of the canonical call; the other half, the *check*, is stored with the value, so that
/// a value is served only if all 256 bits agree.
#[derive(Debug, Clone)]
pub(crate) struct CallKey {
    pub(crate) id: EntryId,
    pub(crate) check: [u8; 16],
    pub(crate) args: Bytes,
}

impl CallKey {
    pub(crate) fn of(function: FunctionKey, name: &str, args: &impl Serialize, limit: usize) -> Result<Self> {
        let args = canonical::to_vec(args, limit).map_err(|error| {
            let fix = match error {
                canonical::EncodeError::TooLong { .. } => {
                    "pass an id instead, or raise `max_argument_bytes` of the builder"
                }
                canonical::EncodeError::NotANumber => {
                    "it equals nothing, so that its result could never be found again"
                }
                _ => "arguments must be plain data",
            };
            let message = format!("an argument of `{name}` cannot be part of a key: {fix}");
            Error::new(ErrorKind::Argument, message).with_source(error)
        })?;
        Ok(Self::of_args(function, args.into()))
    }

    fn of_args(function: FunctionKey, args: Bytes) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(function.as_bytes());
        hasher.update(&args);
        let hash = hasher.finalize();
        let (mut call, mut check) = ([0; 16], [0; 16]);
        call.copy_from_slice(&hash.as_bytes()[..16]);
        check.copy_from_slice(&hash.as_bytes()[16..]);
        Self { id: EntryId::new(function, call), check, args }
    }

    /// The call as it is stored: the readable name of the function, then the canonical arguments.
    pub(crate) fn stored(&self, name: &str, version: u32) -> Bytes {
        let mut bytes = BytesMut::with_capacity(8 + name.len() + self.args.len());
        bytes.put_u16(u16::try_from(name.len()).expect("names are at most 128 bytes"));
        bytes.put_slice(name.as_bytes());
        bytes.put_u32(version);
        bytes.put_slice(&self.args);
        bytes.freeze()
    }

    /// Reads a stored call of a known function.
    pub(crate) fn read(id: EntryId, stored: &Bytes) -> Result<Self> {
        let corrupt = || Error::new(ErrorKind::Corrupt, format!("the stored call of the entry {id} cannot be read"));
        let (name, _) = stored.split_first_chunk::<2>().ok_or_else(corrupt)?;
        let start = 2 + usize::from(u16::from_be_bytes(*name)) + 4;
        if stored.len() < start {
            return Err(corrupt());
        }
        let key = Self::of_args(id.function(), stored.slice(start..));
        if key.id == id { Ok(key) } else { Err(corrupt()) }
    }
}

/// The readable name of a call: `greeting@1("anna")`, shortened.
pub(crate) fn describe(id: &EntryId, stored: &Bytes) -> String {
    let parsed = (|| {
        let (name, rest) = stored.split_first_chunk::<2>()?;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*name)))?;
        let (version, args) = rest.split_first_chunk::<4>()?;
        let name = std::str::from_utf8(name).ok()?;
        let args = canonical::from_slice::<serde_json::Value>(args).map(|args| match args {
            serde_json::Value::Array(args) => args.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            serde_json::Value::Null => String::new(),
            other => other.to_string(),
        });
        let mut args = args.unwrap_or_else(|_| "…".to_owned());
        if let Some((end, _)) = args.char_indices().nth(200) {
            args.truncate(end);
            args.push('…');
        }
        Some(format!("{name}@{}({args})", u32::from_be_bytes(*version)))
    })();
    parsed.unwrap_or_else(|| format!("the entry {id}"))
}

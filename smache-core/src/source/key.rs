//! The id of an entity in canonical bytes.

use std::fmt;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, ErrorKind, Result, canonical};

/// The most bytes that the id of an entity may have.
const MAX_KEY: usize = 64 * 1024;

/// The id of an entity, in canonical bytes: equal ids have equal keys, in every process.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityKey(Bytes);

impl EntityKey {
    /// The key of an id.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] when the id cannot be encoded: not a number, or above 64 KiB.
    pub fn encode<T: Serialize + ?Sized>(id: &T) -> Result<Self> {
        match canonical::to_vec(id, MAX_KEY) {
            Ok(bytes) => Ok(Self(bytes.into())),
            Err(error) => Err(Error::new(ErrorKind::Argument, "an entity id cannot be encoded").with_source(error)),
        }
    }

    /// The id.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the bytes are not an id of that type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        canonical::from_slice(&self.0).map_err(|error| {
            Error::new(ErrorKind::Corrupt, format!("the entity id {self} cannot be decoded")).with_source(error)
        })
    }

    /// The key of an id that is encoded already.
    pub(crate) fn from_canonical(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }

    /// The empty key, for changes of a whole source.
    #[must_use]
    pub fn empty() -> Self {
        Self(Bytes::new())
    }

    /// The canonical bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for EntityKey {
    /// Readable where the id is (`42`, `"anna"`), hexadecimal otherwise.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match canonical::from_slice::<serde_json::Value>(&self.0) {
            // Drivers write their own id types as a map: `{"$oid":"507f…"}` reads better as `507f…`.
            Ok(serde_json::Value::Object(map)) if map.len() == 1 && map.contains_key("$oid") => {
                f.write_str(map["$oid"].as_str().unwrap_or_default())
            }
            Ok(value) => write!(f, "{value}"),
            Err(_) => crate::ids::write_hex(f, &self.0),
        }
    }
}

impl fmt::Debug for EntityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntityKey({self})")
    }
}

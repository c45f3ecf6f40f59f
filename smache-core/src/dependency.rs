//! What an entry depends on: to a store one kind of thing, a short opaque [`Dependency`].

use std::sync::Arc;

use crate::{EntityKey, EntryId, Error, FunctionKey, Result, SourceId};

/// Something whose change makes entries stale. A hash of its kind, source and key.
///
/// Two different things share a hash with a probability below 2⁻⁶⁴ for 2³² of them; if they did, an entry would be
/// recomputed once too often, never too seldom.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dependency([u8; 16]);

impl Dependency {
    /// The length in bytes.
    pub const LEN: usize = 16;

    /// From its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// From a slice of 16 bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) when the length is another.
    pub fn from_slice(bytes: &[u8]) -> Result<Self> {
        bytes.try_into().map(Self).map_err(|_| {
            Error::new(
                crate::ErrorKind::Corrupt,
                format!("a stored dependency has {} bytes instead of 16", bytes.len()),
            )
        })
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// One entity, existing or not: a read of an absent id depends on it just the same.
    #[must_use]
    pub fn entity(source: &SourceId, key: &EntityKey) -> Self {
        Self::hash("entity", &[source.as_str().as_bytes(), key.as_bytes()])
    }

    /// Anything in a source.
    #[must_use]
    pub fn source(source: &SourceId) -> Self {
        Self::hash("source", &[source.as_str().as_bytes()])
    }

    /// A name that the application touches itself.
    #[must_use]
    pub fn tag(name: &str) -> Self {
        Self::hash("tag", &[name.as_bytes()])
    }

    /// All entries of a function; every entry has it.
    #[must_use]
    pub fn function(function: FunctionKey) -> Self {
        Self::hash("function", &[function.as_bytes()])
    }

    /// An entry itself: what its parents depend on, and what `invalidate(call)` touches.
    #[must_use]
    pub fn entry(id: &EntryId) -> Self {
        Self::hash("entry", &[id.as_bytes()])
    }

    /// Length-prefixed parts under a context of their own, so that no two kinds can collide by content.
    fn hash(kind: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in std::iter::once(&kind.as_bytes()).chain(parts) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(bytes)
    }
}

impl std::fmt::Display for Dependency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        crate::ids::write_hex(f, &self.0)
    }
}

impl std::fmt::Debug for Dependency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dependency({self})")
    }
}

/// How an entry came to depend on something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Via {
    /// The function read it itself: its change makes the entry hard stale (it must run again).
    Direct,
    /// A nested call read it: the entry may be re-validated without running.
    Child,
    /// Checked at commit but never indexed: the entry's own [`Dependency::entry`], which needs no edge because an
    /// invalidation names the entry itself.
    Guard,
}

/// A dependency that a computation used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Used {
    /// On what.
    pub dependency: Dependency,
    /// How.
    pub via: Via,
}

/// A dependency that was hit by a change, with a short text for people that says which change it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// What changed.
    pub dependency: Dependency,
    /// For example `users 42 updated`; stores keep the first 200 bytes.
    pub cause: Arc<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_parts_never_collide_by_content() {
        let source = |name: &str| SourceId::new(name).expect("a good name");
        let key = |id: &str| EntityKey::encode(&id).expect("a string encodes");
        let all = [
            Dependency::entity(&source("a"), &key("b/c")),
            Dependency::entity(&source("a/b"), &key("c")),
            Dependency::source(&source("a")),
            Dependency::tag("a"),
            Dependency::tag(""),
            Dependency::function(FunctionKey::from_bytes([7; 8])),
        ];
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}

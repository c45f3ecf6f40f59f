//! The dependencies of an entry: to a store one kind of thing, a short opaque [`Dependency`].

use std::sync::Arc;

use crate::{EntityKey, EntryId, Error, FunctionKey, Result, SourceId};

/// Something whose change makes entries stale: four bits of its kind, twelve of its source, and a hash of both and its
/// key.
///
/// Two different things of a source share a hash with a probability below 2⁻⁴⁸ for 2³² of them; if they did, an entry
/// would be recomputed once too often, never too seldom.
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

    /// From the digits that `Display` writes.
    pub(crate) fn from_hex(digits: &str) -> Option<Self> {
        if digits.len() != 2 * Self::LEN || !digits.is_ascii() {
            return None;
        }
        let mut bytes = [0; Self::LEN];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// One entity, existing or not: a read of an absent id depends on it just the same.
    #[must_use]
    pub fn entity(source: &SourceId, key: &EntityKey) -> Self {
        Self::of_source(DependencyKind::Entity, source, &[key.as_bytes()])
    }

    /// An entity whose change does not tell the changed fields. Goes with [`field`](Self::field).
    #[must_use]
    pub fn row(source: &SourceId, key: &EntityKey) -> Self {
        Self::of_source(DependencyKind::Row, source, &[key.as_bytes()])
    }

    /// One field of an entity, by its stored name.
    #[must_use]
    pub fn field(source: &SourceId, key: &EntityKey, field: &str) -> Self {
        Self::of_source(DependencyKind::Field, source, &[key.as_bytes(), field.as_bytes()])
    }

    /// A source as a whole: every change in it.
    #[must_use]
    pub fn source(source: &SourceId) -> Self {
        Self::of_source(DependencyKind::Source, source, &[])
    }

    /// The entities of a source whose indexed fields have certain values, in the bytes of their index.
    #[must_use]
    pub fn predicate(index: &SourceId, source: &SourceId, values: &[u8]) -> Self {
        Self::of_source(DependencyKind::Predicate, source, &[index.as_str().as_bytes(), values])
    }

    /// The entities of a source that a relation leads from to one entity.
    #[must_use]
    pub fn relation(relation: &SourceId, source: &SourceId, to: &EntityKey) -> Self {
        Self::of_source(DependencyKind::Relation, source, &[relation.as_str().as_bytes(), to.as_bytes()])
    }

    /// The changes of a source that do not tell the entity before and after. They may affect any predicate or relation,
    /// so they affect this one, which every entry with a predicate or a relation of the source has as well.
    #[must_use]
    pub fn wildcard(source: &SourceId) -> Self {
        Self::of_source(DependencyKind::Wildcard, source, &[])
    }

    /// The changes of a source after which an entity cannot be compared with the predicates of an index.
    #[must_use]
    pub fn incomparable(index: &SourceId, source: &SourceId) -> Self {
        Self::of_source(DependencyKind::Wildcard, source, &[index.as_str().as_bytes()])
    }

    /// A name that the application touches itself.
    #[must_use]
    pub fn tag(name: &str) -> Self {
        Self::hash(DependencyKind::Tag, &[name.as_bytes()])
    }

    /// All entries of a function; every entry depends on it.
    #[must_use]
    pub fn function(function: FunctionKey) -> Self {
        Self::hash(DependencyKind::Function, &[function.as_bytes()])
    }

    /// An entry itself: its callers depend on it, and `invalidate(call)` changes it.
    #[must_use]
    pub fn entry(id: &EntryId) -> Self {
        Self::hash(DependencyKind::Entry, &[id.as_bytes()])
    }

    /// Its kind; `None` for bytes that none of the functions above made.
    #[must_use]
    pub fn kind(&self) -> Option<DependencyKind> {
        DependencyKind::ALL.into_iter().find(|kind| *kind as u8 == self.0[0] >> 4)
    }

    /// Whether it may be of a source. Only twelve bits tell, so one of 4,096 other sources looks the same.
    #[must_use]
    pub fn may_be_of(&self, source: &SourceId) -> bool {
        let of_a_source =
            !matches!(self.kind(), None | Some(DependencyKind::Tag | DependencyKind::Function | DependencyKind::Entry));
        of_a_source && Self::prefix(source) == [self.0[0] & 0xf, self.0[1]]
    }

    /// The twelve bits of a source.
    fn prefix(source: &SourceId) -> [u8; 2] {
        let hash = blake3::hash(source.as_str().as_bytes());
        [hash.as_bytes()[0] & 0xf, hash.as_bytes()[1]]
    }

    fn of_source(kind: DependencyKind, source: &SourceId, parts: &[&[u8]]) -> Self {
        let mut all = vec![source.as_str().as_bytes()];
        all.extend(parts);
        let mut dependency = Self::hash(kind, &all);
        let [high, low] = Self::prefix(source);
        dependency.0[0] = (dependency.0[0] & 0xf0) | high;
        dependency.0[1] = low;
        dependency
    }

    /// Length-prefixed parts under a separate kind, so that no two kinds can collide by content.
    fn hash(kind: DependencyKind, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in std::iter::once(&&[kind as u8][..]).chain(parts) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        bytes[0] = (bytes[0] & 0xf) | ((kind as u8) << 4);
        Self(bytes)
    }
}

/// The kinds of dependencies. Persisted in their first four bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DependencyKind {
    /// [`Dependency::entity`].
    Entity = 1,
    /// [`Dependency::row`].
    Row = 2,
    /// [`Dependency::field`].
    Field = 3,
    /// [`Dependency::source`].
    Source = 4,
    /// [`Dependency::predicate`].
    Predicate = 5,
    /// [`Dependency::relation`].
    Relation = 6,
    /// [`Dependency::wildcard`], [`Dependency::incomparable`].
    Wildcard = 7,
    /// [`Dependency::tag`].
    Tag = 8,
    /// [`Dependency::function`].
    Function = 9,
    /// [`Dependency::entry`].
    Entry = 10,
}

impl DependencyKind {
    const ALL: [Self; 10] = [
        Self::Entity,
        Self::Row,
        Self::Field,
        Self::Source,
        Self::Predicate,
        Self::Relation,
        Self::Wildcard,
        Self::Tag,
        Self::Function,
        Self::Entry,
    ];
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

/// How an entry depends on something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Via {
    /// The function read it itself: its change makes the entry stale (it must run again).
    Direct,
    /// A nested call read it: the entry may be re-validated without a run.
    Child,
    /// Checked at commit but never indexed: the entry's own [`Dependency::entry`], which needs no edge because an
    /// invalidation names the entry itself.
    Guard,
}

/// A dependency that a computation used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UsedDependency {
    /// The dependency.
    pub dependency: Dependency,
    /// How the entry depends on it.
    pub via: Via,
}

/// A dependency that a change affects, with a short text for people that names the change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChangedDependency {
    /// The affected dependency.
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
            Dependency::row(&source("a"), &key("b/c")),
            Dependency::field(&source("a"), &key("b"), "c"),
            Dependency::field(&source("a"), &key("b"), ""),
            Dependency::source(&source("a")),
            Dependency::wildcard(&source("a")),
            Dependency::incomparable(&source("i"), &source("a")),
            Dependency::predicate(&source("i"), &source("a"), b"b"),
            Dependency::predicate(&source("i"), &source("a"), b""),
            Dependency::relation(&source("i"), &source("a"), &key("b")),
            Dependency::tag("a"),
            Dependency::tag(""),
            Dependency::function(FunctionKey::from_bytes([7; 8])),
            Dependency::entry(&EntryId::from_bytes([7; 24])),
        ];
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn kind_and_source_can_be_told_from_the_bytes() {
        let source = |name: &str| SourceId::new(name).expect("a good name");
        let key = EntityKey::encode(&7_u8).expect("a number encodes");
        let grades = Dependency::entity(&source("grades"), &key);
        assert_eq!(grades.kind(), Some(DependencyKind::Entity));
        assert!(grades.may_be_of(&source("grades")) && !grades.may_be_of(&source("users")));
        assert_eq!(Dependency::wildcard(&source("grades")).kind(), Some(DependencyKind::Wildcard));
        assert_eq!(Dependency::tag("grades").kind(), Some(DependencyKind::Tag));
        assert!(!Dependency::tag("grades").may_be_of(&source("grades")));
        assert_eq!(Dependency::from_hex(&grades.to_string()), Some(grades));
        assert_eq!(Dependency::from_hex("grades"), None);
        assert_eq!(Dependency::from_bytes([0; 16]).kind(), None);
        assert_eq!(Dependency::from_bytes([0xff; 16]).kind(), None);
    }
}

//! Changes, as feeds deliver them.

use std::time::Instant;

use super::{EntityKey, Image};
use crate::{Position, SourceId};

/// Some changes in a row, maybe none.
#[derive(Debug)]
#[non_exhaustive]
pub struct Batch {
    /// In the order of the history.
    pub changes: Vec<Change>,
    /// Where the feed stands after them.
    pub position: Position,
    /// Every change made before this instant was delivered in this batch or an earlier one; `None` while the feed is
    /// behind. The validity of the sources counts from here.
    pub as_of: Option<Instant>,
}

impl Batch {
    /// Changes up to a position, complete as of an instant.
    #[must_use]
    pub fn new(changes: Vec<Change>, position: Position, as_of: Option<Instant>) -> Self {
        Self { changes, position, as_of }
    }
}

/// The kind of a change of an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeKind {
    /// It came into being.
    Insert,
    /// Some or all of it changed.
    Update,
    /// It came into being or changed: the history does not tell which. Everything that either affects goes stale.
    Put,
    /// It went.
    Delete,
    /// The whole source changed at once, by a drop, rename or truncation. The key is empty.
    Reset,
}

impl ChangeKind {
    /// As a past participle, for messages.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Insert => "inserted",
            Self::Update => "updated",
            Self::Put => "put",
            Self::Delete => "deleted",
            Self::Reset => "reset",
        }
    }
}

/// An entity before or after a change.
#[derive(Debug, Clone, Default)]
pub enum Snapshot {
    /// The source does not tell.
    #[default]
    Unknown,
    /// It did not exist.
    Absent,
    /// It existed, with this content.
    Known(Image),
}

/// One change of one entity.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Change {
    /// Its source.
    pub source: SourceId,
    /// The key of its entity.
    pub key: EntityKey,
    /// The kind.
    pub kind: ChangeKind,
    /// The entity before.
    pub before: Snapshot,
    /// The entity after.
    pub after: Snapshot,
    /// The changed top-level fields by their stored names, where the source tells.
    pub fields: Option<Vec<String>>,
}

impl Change {
    /// A change that tells only the id.
    #[must_use]
    pub fn new(source: SourceId, key: EntityKey, kind: ChangeKind) -> Self {
        Self { source, key, kind, before: Snapshot::Unknown, after: Snapshot::Unknown, fields: None }
    }

    /// A change of a whole source.
    #[must_use]
    pub fn reset(source: SourceId) -> Self {
        Self::new(source, EntityKey::empty(), ChangeKind::Reset)
    }
}

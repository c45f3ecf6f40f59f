//! Parts of an entry that cannot be read. They count as absent, so that one damaged record stops neither a look-up of others
//! nor an invalidation; what nobody can read any more is removed by the first step that writes.

use bytes::Bytes;
use smache_core::{EntryId, Result};

use crate::{key_value::Access, keys::Role, step::Step};

/// A part of an entry as it was found.
pub(crate) enum Part<T> {
    There(T),
    Absent,
    /// It was told of.
    Damaged,
}

impl Step<'_> {
    /// Reads and decodes a part of an entry.
    pub(crate) async fn part<T>(
        &mut self,
        id: &EntryId,
        role: Role,
        what: &'static str,
        decode: impl FnOnce(&Bytes) -> Option<T>,
    ) -> Result<Part<T>> {
        let Some(bytes) = self.get(&self.keys().entry(role, id)).await? else { return Ok(Part::Absent) };
        Ok(match decode(&bytes) {
            Some(part) => Part::There(part),
            None => {
                tracing::warn!(entry = %id, what, bytes = bytes.len(), "what cannot be read counts as absent");
                Part::Damaged
            }
        })
    }

    /// Whether what is damaged can be removed now. Who only reads leaves it to the next step that writes.
    pub(crate) fn removes(&self) -> bool {
        self.access == Access::Write
    }

    /// The entry that a key of an index ends with. A key that is not of an entry is nobody's and goes.
    pub(crate) fn listed(&mut self, key: &Bytes) -> Option<EntryId> {
        let id = self.keys().id_of(key);
        if id.is_none() {
            tracing::warn!(key = %key.escape_ascii(), "a key of an index names no entry and is left out");
            if self.removes() {
                self.delete(key.clone());
            }
        }
        id
    }
}

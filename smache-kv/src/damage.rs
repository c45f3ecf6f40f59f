//! Unreadable parts of an entry. They count as absent, so that one damaged record stops neither a look-up of others nor
//! an invalidation. The first step that writes removes them.

use bytes::Bytes;
use smache_core::{
    EntryId, Result,
    support::{log_damaged_record, log_damaged_state},
};

use crate::{codec::Persisted, key_value::Access, keys::Role, step::Step};

/// A part of an entry.
pub(crate) enum Part<T> {
    There(T),
    Absent,
    /// Already logged.
    Damaged,
}

impl Step<'_> {
    /// Reads and decodes a part of an entry.
    pub(crate) async fn part<T>(&mut self, id: &EntryId, role: Role, what: &'static str) -> Result<Part<T>>
    where
        T: Persisted,
    {
        let Some(bytes) = self.get(&self.keys().entry(role, id)).await? else { return Ok(Part::Absent) };
        Ok(match T::decode(&bytes) {
            Some(part) => Part::There(part),
            None => {
                let why = format_args!("{what} of {} bytes cannot be decoded", bytes.len());
                match role {
                    Role::Job | Role::Run => log_damaged_state(id, why),
                    _ => log_damaged_record(id, why),
                }
                Part::Damaged
            }
        })
    }

    /// Whether the step can remove damage now. A step that only reads leaves it to the next one that writes.
    pub(crate) fn removes(&self) -> bool {
        self.access == Access::Write
    }

    /// The entry at the end of a key of an index. A key without an entry is removed.
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

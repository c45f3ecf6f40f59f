//! The keys. The layout is persisted: a change of it raises [`LAYOUT`](crate::layout::LAYOUT).
//!
//! Every key is the length of the namespace, the namespace, the area, a role, and the parts that order the role.
//! Numbers are eight bytes with the highest first, so that every listing is a range.

use std::borrow::Cow;

use bytes::Bytes;
use smache_core::{Dependency, EntryId, Namespace, Page};

/// The separate parts of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Area {
    /// A store, with the jobs of the queue that is joined with it.
    Store = b'c',
    /// A queue alone.
    Queue = b'q',
}

/// The role of a key. The letters are those of `PROTOCOL.md` where they name the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Role {
    /// `K`.
    Revision = b'k',
    /// Runs that began before it cannot be validated any more.
    LowWatermark = b'f',
    /// `E` and the leases of `W`.
    Validity = b'e',
    /// Where the walk over entries of old epochs goes on; absent when there are none.
    Sweep = b's',
    /// Where the walk over places without a record goes on; absent when nothing was damaged.
    Repair = b'w',
    /// The positions of `W`, by source.
    Position = b'p',
    /// By feed.
    Leader = b'l',
    /// By program.
    Program = b'o',
    /// `N`, by dependency.
    Changed = b'n',
    /// The same by revision and dependency.
    ChangedAt = b'c',
    /// `M`, by deadline, dependency and the name of the attempt.
    Mark = b'm',
    /// `R`, by entry.
    Run = b'r',
    /// Runs by the end of their lease and the entry.
    RunLease = b't',
    /// Runs by their start and the entry.
    RunStart = b'u',
    /// The fields that every invalidation changes, by entry.
    Head = b'h',
    /// The value and the engine's notes, by entry.
    Body = b'v',
    /// The call and its dependencies, by entry.
    Lineage = b'g',
    /// `D`, by dependency and entry.
    Edge = b'd',
    /// Stale entries by the time since when and the entry.
    Stale = b'z',
    /// Entries by the time of their expiry and the entry.
    Expiry = b'x',
    /// `J`, by entry.
    Job = b'j',
    /// Queued jobs by lane, priority, due time and entry.
    JobDue = b'q',
    /// Jobs by state and entry.
    JobState = b'i',
    /// Running jobs by the end of their lease and the entry.
    JobLease = b'a',
    /// The numbers of the area, without the differences that steps have added since.
    Count = b'y',
    /// Those differences, by the time and a random name.
    CountChange = b'+',
    /// Present when the numbers have to be counted, because damage left them unknown.
    Recount = b'?',
    /// Entries by the time when they were stored and the entry, where the store has a capacity.
    Stored = b'b',
}

/// Follows a namespace in the key of its layout, in the place of an area.
const LAYOUT_OF: u8 = b'l';

/// The keys of an area of a namespace.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: Vec<u8>,
}

/// A range of keys, without its end.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    pub(crate) from: Bytes,
    pub(crate) to: Bytes,
}

impl Keys {
    pub(crate) fn new(namespace: &Namespace, area: Area) -> Self {
        let name = namespace.as_str().as_bytes();
        let length = u8::try_from(name.len()).expect("a namespace has at most 128 bytes");
        let mut prefix = vec![length];
        prefix.extend_from_slice(name);
        prefix.push(area as u8);
        Self { prefix }
    }

    /// One key.
    pub(crate) fn of(&self, role: Role, parts: &[&[u8]]) -> Bytes {
        self.begin(role, parts).into()
    }

    /// The key of an entry.
    pub(crate) fn entry(&self, role: Role, id: &EntryId) -> Bytes {
        self.of(role, &[id.as_bytes()])
    }

    /// The key of an entry in an index by a number.
    pub(crate) fn index(&self, role: Role, number: u64, id: &EntryId) -> Bytes {
        self.of(role, &[&number.to_be_bytes(), id.as_bytes()])
    }

    /// All keys with a start.
    pub(crate) fn range(&self, role: Role, parts: &[&[u8]]) -> Range {
        Range::of(self.begin(role, parts))
    }

    /// All keys of the namespace, in every area.
    pub(crate) fn all(&self) -> Range {
        Range::of(self.prefix[..self.prefix.len() - 1].to_vec())
    }

    /// The bytes of an edge.
    pub(crate) fn edge_bytes(&self) -> usize {
        self.prefix.len() + 1 + Dependency::LEN + EntryId::LEN + 1
    }

    /// The key of the layout of the namespace.
    pub(crate) fn layout(&self) -> Bytes {
        [&self.prefix[..self.prefix.len() - 1], &[LAYOUT_OF]].concat().into()
    }

    pub(crate) fn namespace(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.prefix[1..self.prefix.len() - 1])
    }

    /// The keys of an index by a number, up to and including that number.
    pub(crate) fn up_to(&self, role: Role, parts: &[&[u8]], number: u64) -> Range {
        let mut range = self.range(role, parts);
        if let Some(next) = number.checked_add(1) {
            let mut to = self.begin(role, parts);
            to.extend_from_slice(&next.to_be_bytes());
            range.to = to.into();
        }
        range
    }

    /// The bytes after the role of a key of this area.
    pub(crate) fn rest<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        key.get(self.prefix.len() + 1..).unwrap_or_default()
    }

    /// The role of a key of this area, if it is one of those.
    pub(crate) fn one_of(&self, roles: &[Role], key: &[u8]) -> Option<Role> {
        let byte = *key.strip_prefix(&self.prefix[..])?.first()?;
        roles.iter().copied().find(|role| *role as u8 == byte)
    }

    /// The entry at the end of a key.
    pub(crate) fn id_of(&self, key: &[u8]) -> Option<EntryId> {
        let rest = self.rest(key);
        rest.len().checked_sub(EntryId::LEN).and_then(|at| EntryId::from_slice(&rest[at..]).ok())
    }

    fn begin(&self, role: Role, parts: &[&[u8]]) -> Vec<u8> {
        let length = self.prefix.len() + 1 + parts.iter().map(|part| part.len()).sum::<usize>();
        let mut key = Vec::with_capacity(length + 1);
        key.extend_from_slice(&self.prefix);
        key.push(role as u8);
        for part in parts {
            key.extend_from_slice(part);
        }
        key
    }
}

impl Range {
    fn of(from: Vec<u8>) -> Self {
        let mut to = from.clone();
        while let Some(last) = to.pop() {
            if last < u8::MAX {
                to.push(last + 1);
                break;
            }
        }
        Self { from: from.into(), to: to.into() }
    }

    /// The rest of the range, behind a cursor of that length.
    pub(crate) fn after(mut self, cursor: Option<&[u8]>, length: usize) -> smache_core::Result<Self> {
        if let Some(cursor) = cursor {
            if cursor.len() != length {
                return Err(Page::not_a_cursor());
            }
            let mut from = self.from.to_vec();
            from.extend_from_slice(cursor);
            from.push(0);
            self.from = from.into();
        }
        Ok(self)
    }

    /// The rest of the range, behind one of its keys.
    pub(crate) fn after_key(&mut self, key: &[u8]) {
        let mut from = key.to_vec();
        from.push(0);
        self.from = from.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_namespace_is_within_another_one() {
        let keys = |name: &str, area| Keys::new(&Namespace::new(name).expect("a good name"), area);
        let all = [keys("a", Area::Store), keys("a", Area::Queue), keys("ac", Area::Store), keys("b", Area::Store)];
        let key = |keys: &Keys| keys.of(Role::Revision, &[]);
        for (place, one) in all.iter().enumerate() {
            for other in all.iter().skip(place + 1) {
                assert!(!key(other).starts_with(&one.prefix) && !key(one).starts_with(&other.prefix));
            }
        }
    }

    #[test]
    fn range_ends_behind_the_last_key_that_begins_so() {
        let keys = Keys::new(&Namespace::new("a").expect("a good name"), Area::Store);
        let range = keys.range(Role::Edge, &[&[7, 0xff]]);
        let inside = keys.of(Role::Edge, &[&[7, 0xff], &[0xff; 24]]);
        let outside = keys.of(Role::Edge, &[&[8]]);
        assert!(range.from < inside && inside < range.to && range.to <= outside);
    }

    #[test]
    fn numbers_sort_as_they_count() {
        let keys = Keys::new(&Namespace::new("a").expect("a good name"), Area::Store);
        let id = EntryId::from_bytes([0xff; 24]);
        let range = keys.up_to(Role::Expiry, &[], 255);
        assert!(range.from < keys.index(Role::Expiry, 255, &id) && keys.index(Role::Expiry, 255, &id) < range.to);
        assert!(range.to <= keys.index(Role::Expiry, 256, &EntryId::from_bytes([0; 24])));
        assert!(keys.up_to(Role::Expiry, &[], u64::MAX).to > keys.index(Role::Expiry, u64::MAX, &id));
    }

    #[test]
    fn cursor_of_another_length_is_refused() {
        let keys = Keys::new(&Namespace::new("a").expect("a good name"), Area::Store);
        let error = keys.range(Role::Job, &[]).after(Some(b"x"), 24).expect_err("too short");
        assert_eq!(error.kind(), smache_core::ErrorKind::Argument);
    }
}

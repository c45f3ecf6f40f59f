//! The engine's notes on a stored value: opaque to stores, read with every hit.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::ChildCall;
use crate::{EntryId, Freshness, FunctionKey, StoredEntry, Timestamp};

/// The hash of a function's id, in the notes of the results that use it.
pub(crate) type NameHash = [u8; 8];

/// The bytes of a nested call in the notes.
const CHILD_CALL: usize = EntryId::LEN + 16;
/// The bytes of a called function in the notes.
const CALLED: usize = FunctionKey::LEN + size_of::<NameHash>();
/// How many called functions are noted: far more than a program has.
const MOST_CALLED: usize = u16::MAX as usize;

/// The engine's notes on a stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) check: [u8; 16],
    pub(crate) hash: [u8; 16],
    pub(crate) cost: Duration,
    /// The store's time before the run read anything: the value reflects every earlier change.
    pub(crate) begun: Timestamp,
    /// The form of the value, for types that hide their shape.
    pub(crate) form: [u8; 8],
    /// Every function that the value is made of, directly or through others.
    pub(crate) called: Vec<(FunctionKey, NameHash)>,
    /// The nested calls in the order of use.
    pub(crate) child_calls: Vec<ChildCall>,
}

impl Meta {
    /// The first byte of the notes: their version.
    const VERSION: u8 = 2;

    pub(crate) fn write(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(59 + CALLED * self.called.len() + CHILD_CALL * self.child_calls.len());
        bytes.put_u8(Self::VERSION);
        bytes.put_slice(&self.check);
        bytes.put_slice(&self.hash);
        bytes.put_u64_le(u64::try_from(self.cost.as_micros()).unwrap_or(u64::MAX));
        bytes.put_u64_le(self.begun.as_millis());
        bytes.put_slice(&self.form);
        let called = &self.called[..self.called.len().min(MOST_CALLED)];
        bytes.put_u16_le(called.len() as u16);
        for (key, name) in called {
            bytes.put_slice(key.as_bytes());
            bytes.put_slice(name);
        }
        for child in &self.child_calls {
            bytes.put_slice(child.id.as_bytes());
            bytes.put_slice(&child.hash);
        }
        bytes.freeze()
    }

    /// Reads the notes; `None` when they are not of this version.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (&[version], rest) = bytes.split_first_chunk()?;
        let (&check, rest) = rest.split_first_chunk()?;
        let (&hash, rest) = rest.split_first_chunk()?;
        let (&cost, rest) = rest.split_first_chunk()?;
        let (&begun, rest) = rest.split_first_chunk()?;
        let (&form, rest) = rest.split_first_chunk()?;
        let (&many, rest) = rest.split_first_chunk()?;
        let (called, child_calls) = rest.split_at_checked(CALLED * usize::from(u16::from_le_bytes(many)))?;
        let function = |bytes: &[u8]| {
            let (&key, name) = bytes.split_first_chunk()?;
            Some((FunctionKey::from_bytes(key), name.try_into().ok()?))
        };
        let called = called.chunks(CALLED).map(function).collect::<Option<_>>()?;
        let child = |bytes: &[u8]| {
            let (&id, hash) = bytes.split_first_chunk()?;
            Some(ChildCall { id: EntryId::from_bytes(id), hash: hash.try_into().ok()? })
        };
        let child_calls = child_calls.chunks(CHILD_CALL).map(child).collect::<Option<_>>()?;
        let cost = Duration::from_micros(u64::from_le_bytes(cost));
        let begun = Timestamp::from_millis(u64::from_le_bytes(begun));
        (version == Self::VERSION).then_some(Self { check, hash, cost, begun, form, called, child_calls })
    }

    /// The freshness of the value, given the store's judgement of its entry. A store knows when a value was stored; the
    /// state that the value reflects is older, but newer than a confirmation that had ended before.
    pub(crate) fn dated(&self, freshness: Freshness, entry: &StoredEntry) -> Freshness {
        match freshness {
            // No change affected it after it was stored, so it was stored as stale.
            Freshness::Stale { since } if since <= entry.stored_at => Freshness::Stale { since: self.begun },
            Freshness::Unconfirmed { since: Some(since) } => {
                Freshness::Unconfirmed { since: Some(since.max(self.begun)) }
            }
            known => known,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back_as_they_were_and_foreign_ones_do_not() {
        let child = |byte| ChildCall { id: EntryId::from_bytes([byte; 24]), hash: [byte; 16] };
        let function = |byte| (FunctionKey::from_bytes([byte; 8]), [byte; 8]);
        for (child_calls, called) in [
            (vec![], vec![]),
            (vec![child(1)], vec![function(1)]),
            (vec![child(1), child(2)], vec![function(7), function(8), function(9)]),
            (vec![], vec![function(1)]),
        ] {
            let cost = Duration::from_micros(5);
            let begun = Timestamp::from_millis(6);
            let meta = Meta { check: [3; 16], hash: [4; 16], cost, begun, form: [6; 8], called, child_calls };
            let bytes = meta.write();
            assert_eq!(Meta::read(&bytes), Some(meta));
            assert_eq!(Meta::read(&bytes[..bytes.len() - 1]), None, "cut off");
            assert_eq!(Meta::read(&[&[9], &bytes[1..]].concat()), None, "another version");
        }
    }
}

//! The engine's notes on a stored value: opaque to stores, read with every hit.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::Kid;
use crate::{EntryId, Freshness, StoredEntry, Timestamp};

/// The bytes of a nested call in the notes.
const KID: usize = EntryId::LEN + 16;

/// The engine's notes on a stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) check: [u8; 16],
    pub(crate) hash: [u8; 16],
    pub(crate) cost: Duration,
    /// The store's time before anything was read: the value reflects every change from before.
    pub(crate) begun: Timestamp,
    /// The nested calls in the order of use.
    pub(crate) kids: Vec<Kid>,
}

impl Meta {
    /// The first byte of the notes: their version.
    const VERSION: u8 = 2;

    pub(crate) fn write(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(49 + KID * self.kids.len());
        bytes.put_u8(Self::VERSION);
        bytes.put_slice(&self.check);
        bytes.put_slice(&self.hash);
        bytes.put_u64_le(u64::try_from(self.cost.as_micros()).unwrap_or(u64::MAX));
        bytes.put_u64_le(self.begun.as_millis());
        for kid in &self.kids {
            bytes.put_slice(kid.id.as_bytes());
            bytes.put_slice(&kid.hash);
        }
        bytes.freeze()
    }

    /// Reads the notes; `None` when they are not of this version.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (&[version], rest) = bytes.split_first_chunk()?;
        let (&check, rest) = rest.split_first_chunk()?;
        let (&hash, rest) = rest.split_first_chunk()?;
        let (&cost, rest) = rest.split_first_chunk()?;
        let (&begun, kids) = rest.split_first_chunk()?;
        let kid = |bytes: &[u8]| {
            let (&id, hash) = bytes.split_first_chunk()?;
            Some(Kid { id: EntryId::from_bytes(id), hash: hash.try_into().ok()? })
        };
        let kids = kids.chunks(KID).map(kid).collect::<Option<_>>()?;
        let cost = Duration::from_micros(u64::from_le_bytes(cost));
        let begun = Timestamp::from_millis(u64::from_le_bytes(begun));
        (version == Self::VERSION).then_some(Self { check, hash, cost, begun, kids })
    }

    /// How fresh the value of these notes is, by what a store says of its entry. A store knows when a value was stored; what
    /// it reflects is older, and newer than a lease that had ended before.
    pub(crate) fn dated(&self, freshness: Freshness, entry: &StoredEntry) -> Freshness {
        match freshness {
            // Not hit after it was stored, so it was stored as stale.
            Freshness::Stale { since } if since <= entry.stored_at => Freshness::Stale { since: self.begun },
            Freshness::Unvouched { since: Some(since) } => Freshness::Unvouched { since: Some(since.max(self.begun)) },
            known => known,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back_as_they_were_and_foreign_ones_do_not() {
        let kid = |byte| Kid { id: EntryId::from_bytes([byte; 24]), hash: [byte; 16] };
        for kids in [vec![], vec![kid(1)], vec![kid(1), kid(2)]] {
            let meta = Meta {
                check: [3; 16],
                hash: [4; 16],
                cost: Duration::from_micros(5),
                begun: Timestamp::from_millis(6),
                kids,
            };
            let bytes = meta.write();
            assert_eq!(Meta::read(&bytes), Some(meta));
            assert_eq!(Meta::read(&bytes[..bytes.len() - 1]), None, "cut off");
            assert_eq!(Meta::read(&[&[9], &bytes[1..]].concat()), None, "another version");
        }
    }
}

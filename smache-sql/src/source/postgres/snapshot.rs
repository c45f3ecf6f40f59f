//! Snapshots of PostgreSQL: which transactions one sees.

use std::fmt::{self, Write};

use smache_core::{Error, ErrorKind, Result};

/// A `pg_snapshot`: every transaction below `xmax` is over, except those of `running`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    xmin: u64,
    xmax: u64,
    /// Growing, from `xmin` on and below `xmax`.
    running: Vec<u64>,
}

impl Snapshot {
    /// Reads what the server writes: `xmin:xmax:running,running`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let read = || {
            let mut parts = text.split(':');
            let xmin = parts.next()?.parse().ok()?;
            let xmax = parts.next()?.parse().ok()?;
            let running = parts.next()?.split(',').filter(|xid| !xid.is_empty()).map(str::parse);
            Some(Self { xmin, xmax, running: running.collect::<Result<_, _>>().ok()? })
        };
        let snapshot = read().filter(Self::is_valid);
        snapshot.ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("`{text}` is not a snapshot of PostgreSQL")))
    }

    /// The transactions below `xmax` that were not over.
    pub(super) fn running(&self) -> impl Iterator<Item = u64> {
        self.running.iter().copied()
    }

    fn is_valid(&self) -> bool {
        let running = &self.running;
        self.xmin <= self.xmax
            && running.is_sorted_by(|one, two| one < two)
            && running.first().is_none_or(|first| self.xmin <= *first)
            && running.last().is_none_or(|last| *last < self.xmax)
    }

    /// 16 bytes that grow with the history: `xmax`, then how many below it are over.
    ///
    /// Why they grow: a transaction is over for good, so of two snapshots the later one sees all that the earlier one
    /// sees, and `xmax`, which is one more than the highest transaction that is over, never falls. Where it is
    /// the same, the later one has fewer running, or the same. Where both are the same, the snapshots are the same:
    /// the running of the later one are among those of the earlier one. So positions that see different transactions
    /// have different orders.
    pub(super) fn order(&self) -> [u8; 16] {
        let over = self.xmax - self.running.len() as u64;
        let mut order = [0; 16];
        order[..8].copy_from_slice(&self.xmax.to_be_bytes());
        order[8..].copy_from_slice(&over.to_be_bytes());
        order
    }

    /// In few bytes, because thousands of transactions may be running: the numbers as steps, seven bits per byte.
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        encode_number(bytes, self.xmin);
        encode_number(bytes, self.xmax - self.xmin);
        encode_number(bytes, self.running.len() as u64);
        let mut last = self.xmin;
        for xid in &self.running {
            encode_number(bytes, xid - last);
            last = *xid;
        }
    }

    /// Reads the text of [`encode`](Self::encode), and returns it with the rest.
    pub(super) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let xmin = decode_number(bytes)?;
        let xmax = xmin.checked_add(decode_number(bytes)?)?;
        let count = decode_number(bytes)?;
        let mut last = xmin;
        let mut running = Vec::new();
        for _ in 0..count {
            last = last.checked_add(decode_number(bytes)?)?;
            running.push(last);
        }
        Some(Self { xmin, xmax, running }).filter(Self::is_valid)
    }
}

impl fmt::Display for Snapshot {
    /// As the server writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (index, xid) in self.running.iter().enumerate() {
            if index > 0 {
                f.write_char(',')?;
            }
            write!(f, "{xid}")?;
        }
        Ok(())
    }
}

pub(super) fn encode_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

pub(super) fn decode_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        number |= bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

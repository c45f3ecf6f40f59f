//! The buffer that values are written to: bounds, lengths, depth and the order of entries.

use serde::Serialize;

use super::{EncodeError, Integers, MAX_DEPTH, tag};

pub(super) type Result<T = ()> = std::result::Result<T, EncodeError>;

/// Most arguments are an id or two, so that this is the only allocation.
const USUAL_LENGTH: usize = 64;

/// Most structs have fewer fields.
const USUAL_ENTRIES: usize = 16;

/// The longest length in LEB128: 64 bits, seven in a byte.
const LENGTH_BYTES: usize = 10;

/// Writes values to a buffer that never grows above the limit.
#[derive(Debug)]
pub(super) struct Encoder {
    pub(super) buf: Vec<u8>,
    /// Always `buf.len() <= limit`.
    limit: usize,
    pub(super) integers: Integers,
    depth: usize,
    /// The finished entries of all open maps, the innermost map's last. One stack for all of them, so that nested
    /// structs do not allocate one each.
    pub(super) entries: Vec<Entry>,
    /// The buffer in which the entries of a map are put in order.
    sorted: Vec<u8>,
}

/// The place of a map's entry in the buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) start: usize,
    pub(super) value: usize,
    pub(super) end: usize,
}

impl Encoder {
    pub(super) fn new(limit: usize, integers: Integers) -> Self {
        Self {
            buf: Vec::with_capacity(limit.min(USUAL_LENGTH)),
            limit,
            integers,
            depth: 0,
            entries: Vec::new(),
            sorted: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.buf
    }

    /// Puts an entry on the stack.
    pub(super) fn push(&mut self, entry: Entry) {
        if self.entries.capacity() == 0 {
            self.entries.reserve(USUAL_ENTRIES);
        }
        self.entries.push(entry);
    }

    /// How many bytes were allocated in order to sort maps.
    #[cfg(test)]
    pub(super) fn sorting_memory(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.sorted.capacity()
    }

    /// Makes sure that `more` bytes fit, before they are written or allocated.
    pub(super) fn reserve(&self, more: usize) -> Result {
        if more > self.limit - self.buf.len() {
            return Err(EncodeError::TooLong { limit: self.limit });
        }
        Ok(())
    }

    pub(super) fn byte(&mut self, byte: u8) -> Result {
        self.reserve(1)?;
        self.buf.push(byte);
        Ok(())
    }

    pub(super) fn fixed<const N: usize>(&mut self, tag: u8, content: [u8; N]) -> Result {
        self.reserve(1 + N)?;
        self.buf.push(tag);
        self.buf.extend_from_slice(&content);
        Ok(())
    }

    /// An integer from 0 up in as few bytes as hold it.
    pub(super) fn natural(&mut self, value: u128) -> Result {
        if let Ok(value) = u8::try_from(value) {
            self.fixed(tag::U8, value.to_be_bytes())
        } else if let Ok(value) = u16::try_from(value) {
            self.fixed(tag::U16, value.to_be_bytes())
        } else if let Ok(value) = u32::try_from(value) {
            self.fixed(tag::U32, value.to_be_bytes())
        } else if let Ok(value) = u64::try_from(value) {
            self.fixed(tag::U64, value.to_be_bytes())
        } else {
            self.fixed(tag::U128, value.to_be_bytes())
        }
    }

    /// An integer below 0 in as few bytes as hold it.
    pub(super) fn negative(&mut self, value: i128) -> Result {
        if let Ok(value) = i8::try_from(value) {
            self.fixed(tag::I8, value.to_be_bytes())
        } else if let Ok(value) = i16::try_from(value) {
            self.fixed(tag::I16, value.to_be_bytes())
        } else if let Ok(value) = i32::try_from(value) {
            self.fixed(tag::I32, value.to_be_bytes())
        } else if let Ok(value) = i64::try_from(value) {
            self.fixed(tag::I64, value.to_be_bytes())
        } else {
            self.fixed(tag::I128, value.to_be_bytes())
        }
    }

    pub(super) fn counted(&mut self, tag: u8, content: &[u8]) -> Result {
        let (length, used) = leb128(content.len());
        self.reserve(content.len().saturating_add(1 + used))?;
        self.buf.push(tag);
        self.buf.extend_from_slice(&length[..used]);
        self.buf.extend_from_slice(content);
        Ok(())
    }

    pub(super) fn enter(&mut self) -> Result {
        if self.depth == MAX_DEPTH {
            return Err(EncodeError::TooDeep);
        }
        self.depth += 1;
        Ok(())
    }

    pub(super) fn nested<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        self.enter()?;
        value.serialize(&mut *self)?;
        self.depth -= 1;
        Ok(())
    }

    pub(super) fn leave(&mut self) -> Result {
        self.depth -= 1;
        self.byte(tag::END)
    }

    /// Puts the entries from `base` on, which are the end of the buffer, in the order of their keys.
    pub(super) fn sort(&mut self, base: usize) -> Result {
        let Self { buf, entries, sorted, .. } = self;
        let entries = &mut entries[base..];
        let Some(start) = entries.first().map(|first| first.start) else {
            return Ok(());
        };
        let key = |entry: &Entry| &buf[entry.start..entry.value];
        entries.sort_unstable_by(|a, b| key(a).cmp(key(b)));
        if entries.windows(2).any(|pair| key(&pair[0]) == key(&pair[1])) {
            return Err(EncodeError::DuplicateKey);
        }
        sorted.clear();
        sorted.reserve(buf.len() - start);
        for entry in entries.iter() {
            sorted.extend_from_slice(&buf[entry.start..entry.end]);
        }
        buf.truncate(start);
        buf.extend_from_slice(sorted);
        Ok(())
    }
}

/// The shortest LEB128 form of a length, and how many bytes it has.
pub(super) fn leb128(mut length: usize) -> ([u8; LENGTH_BYTES], usize) {
    let mut bytes = [0; LENGTH_BYTES];
    let mut used = 0;
    while length >= 0x80 {
        bytes[used] = (length & 0x7f) as u8 | 0x80;
        length >>= 7;
        used += 1;
    }
    bytes[used] = length as u8;
    (bytes, used + 1)
}

//! Values: a version byte, then the fields in order. The reader allocates no more than the bytes hold.

use bytes::{BufMut, Bytes};
use smache_core::{Timestamp, support::LATEST};

use crate::layout::LAYOUT;

/// The written format. Another format is another layout of the namespace: otherwise an older release beside this one
/// would take every value for damaged.
const VERSION: u8 = LAYOUT as u8;

/// A part of a namespace that is one value.
pub(crate) trait Persisted: Sized {
    fn encode(&self) -> Bytes;

    /// `None` for bytes that cannot be read.
    fn decode(bytes: &Bytes) -> Option<Self>;
}

/// Writes a value.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new() -> Self {
        Self(vec![VERSION])
    }

    pub(crate) fn u8(&mut self, number: u8) -> &mut Self {
        self.0.put_u8(number);
        self
    }

    pub(crate) fn u32(&mut self, number: u32) -> &mut Self {
        self.0.put_u32(number);
        self
    }

    pub(crate) fn u64(&mut self, number: u64) -> &mut Self {
        self.0.put_u64(number);
        self
    }

    pub(crate) fn time(&mut self, time: Timestamp) -> &mut Self {
        self.u64(time.as_millis())
    }

    /// Bytes of a length that the reader knows.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.put_slice(bytes);
        self
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len()).raw(bytes)
    }

    /// How many elements follow.
    pub(crate) fn count(&mut self, count: usize) -> &mut Self {
        self.u32(u32::try_from(count).expect("nothing that is stored has four billion parts"))
    }

    pub(crate) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T) -> &mut Self) -> &mut Self {
        self.u8(value.is_some().into());
        if let Some(value) = value {
            write(self, value);
        }
        self
    }

    pub(crate) fn done(&mut self) -> Bytes {
        std::mem::take(&mut self.0).into()
    }
}

/// Reads a value. `None` means unreadable.
pub(crate) struct Reader(Bytes);

impl Reader {
    /// Reads the first fields of a value of the present version.
    pub(crate) fn read_first<T>(bytes: &Bytes, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let mut reader = Self(bytes.clone());
        if reader.u8()? != VERSION {
            return None;
        }
        read(&mut reader)
    }

    /// Reads a whole value of the present version.
    pub(crate) fn read<T>(bytes: &Bytes, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let mut reader = Self(bytes.clone());
        if reader.u8()? != VERSION {
            return None;
        }
        read(&mut reader).filter(|_| reader.0.is_empty())
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let array = *self.0.first_chunk()?;
        let _ = self.0.split_to(N);
        Some(array)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn time(&mut self) -> Option<Timestamp> {
        self.u64().map(Timestamp::from_millis)
    }

    pub(crate) fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(crate) fn bytes(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.u32()?).ok()?;
        (length <= self.0.len()).then(|| self.0.split_to(length))
    }

    pub(crate) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.into()).ok()
    }

    pub(crate) fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Some(None) }
    }

    /// As many elements as announced. A wrong count ends with the bytes.
    pub(crate) fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.u32()?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(read(self)?);
        }
        Some(list)
    }
}

/// A number at the beginning of the bytes.
pub(crate) fn number(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|number| u64::from_be_bytes(*number))
}

/// A number that counts steps, as a whole value. No count comes near [`LATEST`], so that the next one is a number too.
pub(crate) fn whole_count(bytes: &[u8]) -> Option<u64> {
    number(bytes).filter(|count| bytes.len() == 8 && *count < LATEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::new();
        writer.u8(7).u32(8).u64(9).bytes(b"ten").raw(&[1; 4]);
        writer.option(Some(11), |writer, number| writer.u64(number).u8(0));
        let bytes = writer.done();
        let read = Reader::read(&bytes, |reader| {
            let fixed = (reader.u8()?, reader.u32()?, reader.u64()?, reader.text()?, reader.array::<4>()?);
            Some((fixed, reader.option(Reader::u64)?, reader.flag()?))
        });
        assert_eq!(read, Some(((7, 8, 9, "ten".to_owned(), [1; 4]), Some(11), false)));
    }

    #[test]
    fn another_version_half_a_value_and_a_rest_are_refused() {
        let read = |bytes: &'static [u8]| Reader::read(&Bytes::from_static(bytes), Reader::bytes);
        assert_eq!(read(&[VERSION, 0, 0, 0, 1, 9]), Some(Bytes::from_static(&[9])));
        for bad in [&[][..], &[VERSION], &[VERSION + 1, 0, 0, 0, 1, 9], &[VERSION, 0, 0, 0, 2, 9]] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        assert_eq!(read(&[VERSION, 0, 0, 0, 1, 9, 9]), None);
    }

    #[test]
    fn false_count_costs_nothing() {
        let bytes = Bytes::from_static(&[VERSION, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
        assert_eq!(Reader::read(&bytes, |reader| reader.list(Reader::u8)), None);
    }
}
